#!/usr/bin/env bash
# Prints what an image holds, as CycloneDX JSON: made by the image's own Python, so that this
# machine needs Docker alone.
#
# usage: supply/sbom.sh IMAGE >sbom.cdx.json
#    ie: supply/sbom.sh 123456789012.dkr.ecr.eu-central-1.amazonaws.com/simplenet-sagemaker@sha256:...
#
# An image that is not here is pulled. Exit code: 127 if there is no python in it.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
[[ $# == 1 ]] || {
  echo "${0##*/}: $# arguments; expected one, the image: ${0##*/} IMAGE" >&2
  exit 2
}
docker image inspect "$1" >/dev/null 2>&1 || docker pull --quiet "$1" >/dev/null

# The digest of what was pushed is that of its manifest; an image of this machine has its id alone.
digest=$(docker image inspect --format '{{.Id}}' "$1")
[[ $1 != *@sha256:* ]] || digest=${1##*@}
# A label alone: all together may be longer than an argument can be.
labels=()
for label in licenses revision base.name base.digest; do
  labels+=("$(docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$label\"}}" "$1")")
done

exec docker run --rm --interactive --network none --entrypoint python "$1" \
  - "$1" "$digest" "${labels[@]}" <"$here/sbom.py"
