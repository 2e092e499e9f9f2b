#!/usr/bin/env bash
# For machines with Docker: starts everything, sends one call, reads what it cost through Grafana.
#   scripts/smoke.sh                     from the images to the figure, and away again
#   scripts/smoke.sh --send URL KEY      only send the call, to an OTLP/HTTP address
set -euo pipefail
cd "$(dirname "$0")/.."

# A call of gpt-4.1 with 1,000,000 tokens in and 100,000 out: whatever its price, it is no $0.
send() {
  local now
  now=$(date +%s)
  curl --fail --silent --show-error "$1/v1/traces" \
    -H "Authorization: Bearer $2" -H 'Content-Type: application/json' -d @- <<JSON
{"resourceSpans": [{"resource": {"attributes": [
   {"key": "service.name", "value": {"stringValue": "smoke"}}]},
 "scopeSpans": [{"scope": {"name": "tallyspan"}, "spans": [{
   "traceId": "$(openssl rand -hex 16)", "spanId": "$(openssl rand -hex 8)", "name": "chat gpt-4.1",
   "kind": 3, "startTimeUnixNano": "$((now - 2))000000000", "endTimeUnixNano": "${now}000000000",
   "attributes": [
     {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
     {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
     {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4.1"}},
     {"key": "gen_ai.response.model", "value": {"stringValue": "gpt-4.1"}},
     {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1000000"}},
     {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "100000"}},
     {"key": "user.id", "value": {"stringValue": "smoke"}}]}]}]}]}
JSON
  echo
}

if [ "${1:-}" = --send ]; then
  send "$2" "$3"
  exit
fi

ENV_FILE=$(mktemp)
compose() { docker compose --project-name tallyspan-smoke --env-file "$ENV_FILE" "$@"; }
grafana() { curl --fail --silent --show-error --user "admin:$GRAFANA_ADMIN_PASSWORD" "$@"; }
finish() {
  local code=$?
  [ "$code" = 0 ] || compose logs --tail 50 || true
  compose down --volumes --timeout 20 >/dev/null 2>&1 || true
  rm -f "$ENV_FILE"
  exit "$code"
}
trap finish EXIT

for name in $(sed -n 's/^\([A-Z_]*\)=$/\1/p' .env.example); do
  value=$(openssl rand -hex 24)
  echo "$name=$value" >>"$ENV_FILE"
  export "$name=$value"
done

compose config --quiet
compose up --build --detach --wait --wait-timeout 300
send http://127.0.0.1:4318 "$TALLYSPAN_INGEST_KEY"

home=http://127.0.0.1:3000
grafana "$home/api/datasources/uid/tallyspan/health" | grep -q '"status":"OK"'
pages=$(grafana "$home/api/search?tag=tallyspan" | grep -o '"uid":"tallyspan-' | wc -l)
rules=$(grafana "$home/api/v1/provisioning/alert-rules" | grep -o '"uid":"tallyspan-' | wc -l)
[ "$pages" = "$(find grafana/dashboards -name '*.json' | wc -l)" ]
[ "$rules" = "$(grep -c '  - uid: tallyspan-' grafana/provisioning/alerting/rules.yaml)" ]

query='{"queries": [{"refId": "A", "datasource": {"uid": "tallyspan",
  "type": "grafana-clickhouse-datasource"}, "editorType": "sql", "queryType": "table", "format": 1,
  "rawSql": "SELECT toFloat64(sum(cost_usd)) AS cost FROM tallyspan.calls WHERE user_id = '"'smoke'"'"}],
  "from": "now-1h", "to": "now"}'
for _ in $(seq 30); do
  cost=$(grafana -H 'Content-Type: application/json' -d "$query" "$home/api/ds/query" |
    sed -n 's/.*"values":\[\[\([0-9.]*\)\]\].*/\1/p')
  case "$cost" in "" | 0 | 0.0) sleep 1 ;; *) break ;; esac
done
case "$cost" in "" | 0 | 0.0) echo "Grafana shows no cost" >&2; exit 1 ;; esac
echo "ok: $pages dashboards, $rules alert rules, and Grafana says the call cost \$$cost"
