#!/usr/bin/env bash
# Sends a file to the server of serve_local.sh and prints its reply. Needs curl, of any version.
#
# usage: [PORT=8080] predict.sh [PAYLOAD] [CONTENT_TYPE]
#    ie: predict.sh                                    the three rows of payload.csv
#    ie: predict.sh rows.npy > scores.npy              NumPy's format, which is binary
#    ie: predict.sh rows.txt 'text/csv; charset=utf-8'
#
# A name that ends in .json, .jsonl or .npy says its type; any other is text/csv, as in AWS's
# sample. Exit code: 0 with a reply, 1 without, 2 for wrong arguments.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

# usage: fail MESSAGE [EXIT_CODE]
fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

case ${1:-} in
  -h | --help)
    sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0"
    exit
    ;;
  -*) fail "there is no option $1; try --help" 2 ;;
esac
(($# <= 2)) || fail "expected at most a file and its content type, not $# arguments; try --help" 2
payload=${1:-$here/payload.csv}
port=${PORT:-8080}
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] ||
  fail "PORT is '$port'; expected a number from 1 to 65535, such as PORT=8080" 2
[[ -r $payload && ! -d $payload ]] ||
  fail "there is no readable file $payload; give one with a row of features a line, such as $(printf %q "$here/payload.csv")"
command -v curl >/dev/null || fail 'there is no curl command; install curl'

case $payload in
  *.json) type=application/json ;;
  *.jsonl) type=application/jsonlines ;;
  *.npy) type=application/x-npy ;;
  *) type=text/csv ;;
esac
type=${2:-$type}
[[ ! -t 1 || $type != application/x-npy* ]] ||
  fail "the reply is binary, which a terminal cannot show; send it to a file: ${0##*/} $(printf %q "$payload") > scores.npy"

reply=$(mktemp)
trap 'rm -f "$reply"' EXIT
# The status is read instead of curl's --fail-with-body, which came with curl 7.76 of 2021.
# --disable and --noproxy: neither ~/.curlrc nor a proxy has a part in what happens on one machine.
# --max-time: SageMaker, too, waits 60 s for the whole reply.
code=0
status=$(curl --disable --noproxy '*' --silent --show-error --connect-timeout 5 --max-time 60 \
  --header "Content-Type: $type" --data-binary "@$payload" \
  --output "$reply" --write-out '%{http_code}' "http://127.0.0.1:$port/invocations") || code=$?
case $code in
  0) ;;
  28) fail 'no reply within 60 s, SageMaker'\''s own limit; send fewer rows at a time' ;;
  *) fail "nothing answers on port $port; start $(printf %q "$here/serve_local.sh") and wait until it listens" ;;
esac
[[ $status == 2* ]] || fail "the server answers HTTP $status to $payload as $type: $(cat "$reply")"

cat "$reply"
# Of another image a reply may end without a newline.
[[ $type == application/x-npy* || -z $(tail -c 1 "$reply") ]] || echo
