#!/usr/bin/env bash
# Serves the model of train_local.sh as a SageMaker endpoint does: `docker run IMAGE serve`.
#
# usage: [PORT=8080] serve_local.sh [IMAGE]    (default: simplenet-sagemaker)
#    ie: PORT=9000 serve_local.sh my-own-image:v2
#
# It serves until Ctrl-C, which stops it as SageMaker stops an endpoint's container: requests that
# are under way have 30 s to finish. Meanwhile, in another terminal: predict.sh.
# The exit code is the server's; it is 1 where it could not be started, 2 for wrong arguments.
#
# The flags of `docker run` (docker.sh has those that training shares):
#
#   --publish 127.0.0.1:PORT:8080   SageMaker asks port 8080; here only this machine can
#   --mount .../model               read-only, as on SageMaker
set -euo pipefail

# shellcheck source=local_test/docker.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/docker.sh"

read_arguments "$@"
port=${PORT:-8080}
[[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] ||
  fail "PORT is '$port'; expected a number from 1 to 65535, such as PORT=8080" 2
require_image

[[ -n $(ls -A "$opt_ml/model" 2>/dev/null) ]] ||
  fail "there is no model in $opt_ml/model; train one: $(pasteable "$here/train_local.sh")${1:+ $(printf %q "$1")}"
# bash opens this path as a connection: it succeeds where something listens.
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  fail "port $port is taken; stop what listens there or choose another: PORT=$((port < 65535 ? port + 1 : 8080)) $(pasteable "$here/serve_local.sh")${1:+ $(printf %q "$1")}"
fi
trap remove_container EXIT

[[ $port == 8080 ]] && prefix='' || prefix="PORT=$port "
printf '==> Serving %s at http://127.0.0.1:%s until Ctrl-C; once it listens, ask it from another terminal: %s%s\n' \
  "$image" "$port" "$prefix" "$(pasteable "$here/predict.sh")"
run_container 30 \
  --publish "127.0.0.1:$port:8080" \
  --mount "$(mount_of "$opt_ml/model" /opt/ml/model readonly)" \
  "$image" serve
