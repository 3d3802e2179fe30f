#!/usr/bin/env bash
# Run a command beside a Docker engine of its own, where none is running: private network and mount namespaces,
# internet by slirp4netns, everything below one folder. Nothing outside is changed.
#   engine.sh FOLDER COMMAND [ARGUMENT...]
# The command finds DOCKER_HOST set; ports that containers publish are reachable from it on 127.0.0.1 only.
set -euo pipefail
folder=$(realpath "$1"); shift
mkdir -p "$folder/data" "$folder/exec"
if [ "${ENGINE_INSIDE:-}" != "$folder" ]; then
  fifo=$folder/go; rm -f "$fifo" "$folder/ns.pid"; mkfifo "$fifo"
  ENGINE_INSIDE=$folder unshare -n -m --fork bash -c 'echo $$ > "$1/ns.pid"; read -r _ < "$1/go"; shift; exec bash "$@"' \
    _ "$folder" "${BASH_SOURCE[0]}" "$folder" "$@" &
  namespace=$!
  until [ -s "$folder/ns.pid" ]; do sleep 0.05; done
  slirp4netns --configure --mtu=1500 --disable-host-loopback "$(cat "$folder/ns.pid")" tap0 > "$folder/slirp.log" 2>&1 &
  slirp=$!
  sleep 1; echo go > "$fifo"
  rc=0; wait "$namespace" || rc=$?
  kill "$slirp" 2>/dev/null || true
  exit "$rc"
fi
mount --make-rprivate /
ip link set lo up
dockerd --data-root "$folder/data" --exec-root "$folder/exec" -H "unix://$folder/docker.sock" \
  --pidfile "$folder/dockerd.pid" > "$folder/dockerd.log" 2>&1 &
engine=$!
stop() { kill "$engine" 2>/dev/null || true; wait "$engine" 2>/dev/null || true; }
trap stop EXIT
export DOCKER_HOST=unix://$folder/docker.sock
for _ in $(seq 300); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
"$@"
