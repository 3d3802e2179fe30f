#!/usr/bin/env bash
# Install the system packages that tests need: a browser, GDAL's programs as a reader that is not ours, fonts.
# Only what is absent; as root or by sudo without a question; says what stays missing.
set -euo pipefail
missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v ogrinfo >/dev/null || missing+=(gdal-bin)
[ -n "$(find /usr/share/fonts -name '*.ttf' -print -quit 2>/dev/null)" ] || missing+=(fonts-dejavu-core)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then as_root=(sudo -n); else
    echo "Missing: ${missing[*]}. Without root they can't be installed here; the tests that need them skip." >&2
    exit 0
  fi
fi
if ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]}. There is no apt-get here; install them by hand, or the tests that need them skip." >&2
  exit 0
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
for attempt in 1 2 3; do
  if "${as_root[@]}" apt-get update -qq >"$log" 2>&1 &&
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  sleep $((attempt * 5))
done
echo "apt-get failed: $(tail -n 3 "$log")" >&2
exit 1
