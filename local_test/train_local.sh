#!/usr/bin/env bash
# Runs one training job on this machine as SageMaker runs it: `docker run IMAGE train`.
#
# usage: train_local.sh [IMAGE]           (default: simplenet-sagemaker, which `make image` builds)
#    ie: train_local.sh my-own-image:v2
#
# opt_ml/, beside this script, is the job's /opt/ml:
#
#   input/config/hyperparameters.json   the settings, all of them strings
#   input/data/train/                   CSV files without a header, the label first
#   model/                              what SageMaker would pack into model.tar.gz
#   output/failure                      why the job failed, if it did
#   checkpoints/                        what the job would find again after an interruption
#
# As on SageMaker each job finds the last three empty, and a job that fails costs no earlier model:
# opt_ml/model is replaced once the job has ended well and left a new one.
#
# Ctrl-C stops the job as StopTrainingJob does: it has 120 s to save what it has.
# The exit code is the job's; it is 1 where no job could be run or no model was left, 2 for wrong
# arguments.
#
# The flags of `docker run` (docker.sh has those that serving shares):
#
#   --network none      no downloads while training, as with EnableNetworkIsolation
#   --mount .../input   read-only, as a FastFile channel is; model, output and checkpoints are not
set -euo pipefail

# shellcheck source=local_test/docker.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/docker.sh"

read_arguments "$@"
require_image

for name in model output checkpoints; do
  [[ ! -e $opt_ml/$name || -O $opt_ml/$name ]] ||
    fail "$opt_ml/$name belongs to another user, so this one cannot replace it; remove it: sudo rm -r $(pasteable "$opt_ml/$name")"
done
job=$(mktemp -d "$opt_ml/.job.XXXXXX") ||
  fail "a job needs a directory to write to; make $opt_ml writable"
trap 'remove_container; rm -rf "$job"' EXIT
mkdir -p "$job/model" "$job/output/data" "$job/checkpoints"

# Puts one directory of this job in the place of the previous job's.
# usage: keep NAME
keep() {
  [[ ! -e $opt_ml/$1 ]] || mv "$opt_ml/$1" "$job/previous-$1"
  mv "$job/$1" "$opt_ml/$1"
}

printf '==> Training %s on %s\n' "$image" "$(pasteable "$opt_ml/input")"
status=0
run_container 120 \
  --network none \
  --mount "$(mount_of "$opt_ml/input" /opt/ml/input readonly)" \
  --mount "$(mount_of "$job/model" /opt/ml/model)" \
  --mount "$(mount_of "$job/output" /opt/ml/output)" \
  --mount "$(mount_of "$job/checkpoints" /opt/ml/checkpoints)" \
  "$image" train || status=$?

keep output
keep checkpoints
if ((status != 0)); then
  if [[ -s $opt_ml/output/failure ]]; then
    reason="/opt/ml/output/failure says:
$(cat "$opt_ml/output/failure")"
  else
    reason='it left no /opt/ml/output/failure, so see its last lines above'
  fi
  fail "the job failed with exit code $status; $reason" "$status"
fi
[[ -n $(ls -A "$job/model") ]] ||
  fail 'the job ended well but left no file in /opt/ml/model, so SageMaker would have no model; save one there'
keep model

printf '==> The model is in %s; serve it: %s%s\n' "$(pasteable "$opt_ml/model")" \
  "$(pasteable "$here/serve_local.sh")" "${1:+ $(printf %q "$1")}"
