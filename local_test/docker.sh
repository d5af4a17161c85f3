#!/usr/bin/env bash
# What train_local.sh and serve_local.sh share; they source it.
#
# Both run their container with these flags; each script's own header has the others:
#
#   --name              known before there is a container, so that a signal can always stop it
#   --sig-proxy=false   Ctrl-C reaches the script alone, which then stops the container as
#                       SageMaker does: SIGTERM, a period of grace, SIGKILL
#   --user              what the container writes is yours, not root's
#   --read-only         only the mounts and /tmp can be written: nothing else outlives a job anyway
#   --tmpfs /tmp        scratch space, as SageMaker has it
#   --mount             unlike --volume it refuses a source that is not there, instead of making
#                       it as root
#
# There is no --init, for SageMaker has none: the program is PID 1. There is no --rm, for the exit
# code is asked of the container, and that must still be there; the script removes it.

# shellcheck disable=SC2034  # the scripts that source this use its variables

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
opt_ml=$here/opt_ml
default_image=simplenet-sagemaker

# usage: fail MESSAGE [EXIT_CODE]
fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

# Prints PATH as one can paste it into this shell, short where it is below the working directory.
# usage: pasteable PATH
pasteable() {
  case $1 in
    "$PWD"/*) printf './%q' "${1#"$PWD"/}" ;;
    *) printf '%q' "$1" ;;
  esac
}

# Sets $image from the script's arguments; prints the script's header when asked for help.
# usage: read_arguments "$@"
read_arguments() {
  case ${1:-} in
    -h | --help)
      sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0"
      exit
      ;;
    -*) fail "there is no option $1; try --help" 2 ;;
  esac
  (($# <= 1)) || fail "expected one argument, the image, not $#; try --help" 2
  image=${1:-$default_image}
}

# Ends the script unless Docker answers and has the image.
# usage: require_image
require_image() {
  local answer build
  command -v docker >/dev/null ||
    fail 'there is no docker command; install Docker: https://docs.docker.com/get-docker/'
  answer=$(docker version --format '{{.Server.Version}}' 2>&1) ||
    fail "Docker does not answer: ${answer##*$'\n'}
Start Docker Desktop or the docker service; if permission is denied, join the group docker."
  build="make -C $(pasteable "$(dirname "$here")") image"
  [[ $image == "$default_image" ]] || build+=" IMAGE=$(printf %q "$image")"
  docker image inspect "$image" >/dev/null 2>&1 ||
    fail "Docker has no image $image; build it: $build"
}

# Prints the value of docker's --mount for a directory. It is CSV, so a path may hold a comma only
# between quotes.
# usage: mount_of DIRECTORY TARGET [readonly]
mount_of() {
  printf 'type=bind,"source=%s",target=%s%s' "${1//\"/\"\"}" "$2" "${3:+,$3}"
}

container=
client=
stopping=

# Runs the container in the foreground, as `docker run ARGUMENT...`; returns its exit code. Ctrl-C,
# SIGTERM and SIGHUP stop it, at the latest after GRACE seconds.
# usage: run_container GRACE ARGUMENT...
run_container() {
  local status=0
  grace=$1
  shift
  container=local_test-$$-$RANDOM
  set -- --name "$container" --sig-proxy=false --read-only --tmpfs /tmp "$@"
  # Under rootless Docker the container's root is already the user who started the engine.
  [[ $(docker info --format '{{.SecurityOptions}}') == *name=rootless* ]] ||
    set -- --user "$(id -u):$(id -g)" "$@"
  trap stop_container INT TERM HUP
  # In the background, since bash runs a trap only once a foreground command has ended.
  docker run "$@" &
  client=$!
  wait "$client" || status=$?
  # The client may have ended with the signal: then only the container knows how the program ended.
  [[ -z $stopping ]] || status=$(docker wait "$container" 2>/dev/null) || status=130
  trap - INT TERM HUP
  return "$status"
}

# The answer to a signal.
stop_container() {
  stopping=yes
  # A second Ctrl-C ends `docker stop`, not the script.
  trap : INT TERM HUP
  printf '==> Stopping: it has %s s to finish, as on SageMaker; Ctrl-C again kills it.\n' "$grace" >&2
  # Again and again, since the signal may have come before there was a container to stop.
  while kill -0 "$client" 2>/dev/null; do
    docker stop -t "$grace" "$container" >/dev/null 2>&1 ||
      docker kill "$container" >/dev/null 2>&1 || true
    sleep 0.1
  done
}

# usage: trap remove_container EXIT
remove_container() {
  [[ -z $container ]] || docker rm --force "$container" >/dev/null 2>&1 || true
}
