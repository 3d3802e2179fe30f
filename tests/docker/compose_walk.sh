#!/usr/bin/env bash
# Inside engine.sh: build the images from the checkout, start the compose file, and walk through it by HTTP.
#   compose_walk.sh CHECKOUT BASE_TAR FOLDER
set -euo pipefail
checkout=$1; base=$2; folder=$3
docker=/usr/bin/docker
[ -x "$docker" ] || docker=docker
cd "$checkout"
"$docker" import -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' -c 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
  "$base" python:3.11-slim-bookworm > /dev/null
export DOCKER_BUILDKIT=1
mkdir -p "$folder/redis"
printf 'FROM python:3.11-slim-bookworm\nRUN apt-get update && apt-get install -y --no-install-recommends redis-server\n' \
  > "$folder/redis/Dockerfile"
"$docker" build -q -t redis:7-bookworm "$folder/redis"
"$docker" build -q --target labelstudio -t geolabel-labelstudio:local .
"$docker" build -q --target geolabel -t geolabel:local .
compose() { "$docker" compose --project-directory "$checkout" -f "$checkout/docker-compose.yml" "$@"; }
finish() { compose logs --no-color > "$folder/compose.log" 2>&1 || true; compose down -v --timeout 5 > /dev/null 2>&1 || true; }
trap finish EXIT
mkdir -p "$folder/rasters"
export GEOLABEL_RASTERS=$folder/rasters
compose up -d --no-build
compose wait setup
compose ps --all --format json > "$folder/services.json"
python3 - "$folder" <<'PY'
import json, sys, time, urllib.request
folder = sys.argv[1]
token = "0123456789abcdef0123456789abcdef01234567"
ls = "http://127.0.0.1:8080"
def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Token {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.headers, answer.read()
project = json.loads(call(f"{ls}/api/projects/")[1])["results"][0]
number = project["id"]
tasks = json.loads(call(f"{ls}/api/tasks?project={number}&fields=all&page_size=100")[1])["tasks"]
image = tasks[0]["data"]["image"]
headers, chip = call(image)
action = f"{ls}/api/dm/actions?id=retrieve_tasks_predictions&project={number}"
wanted = [t["id"] for t in tasks if not t["annotations"]][:3]
call(action, {"selectedItems": {"all": False, "included": wanted}})
deadline, predicted = time.monotonic() + 240, 0
while time.monotonic() < deadline and predicted < len(wanted):
    predicted = sum(bool(json.loads(call(f"{ls}/api/predictions/?task={t}")[1])) for t in wanted)
    time.sleep(2)
facts = {"project": number, "tasks": len(tasks), "image_type": headers["Content-Type"], "chip_bytes": len(chip),
         "wanted": len(wanted), "predicted": predicted}
open(f"{folder}/facts.json", "w").write(json.dumps(facts))
PY
compose exec -T worker geolabel export "$(python3 -c "import json; print(json.load(open('$folder/facts.json'))['project'])")" --help > /dev/null
echo walked
