# As client.py, by curl: one connection, then HTTP/1.0.
set -eu
format='%{http_code} %{content_type} %{size_download}\n'
ask() { curl --silent --show-error --max-time 60 --write-out "$format" "$@"; }
for _ in 1 2 3 4 5; do ask "$PODTAP_MOCK_URL/job/1"; done
ask "$PODTAP_MOCK_URL/rates?base=EUR" "$PODTAP_MOCK_URL/catalogue" --next --head --output /dev/null "$PODTAP_MOCK_URL/page"
ask --http1.0 "$PODTAP_MOCK_URL/page"
ask --json '{"amount":100,"card":"4111111111111111"}' "$PODTAP_MOCK_URL/charges"
ask --request DELETE "$PODTAP_MOCK_URL/charges/17"
