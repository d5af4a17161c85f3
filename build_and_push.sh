#!/usr/bin/env bash
# Builds the image, pushes it to Amazon ECR, and verifies that SageMaker can use what was pushed.
#
# usage: build_and_push.sh [OPTION...] [NAME]    (default: simplenet-sagemaker)
#    ie: build_and_push.sh --dry-run
#    ie: build_and_push.sh --region eu-central-1 --tag v2 my-sagemaker-image
#    ie: image=$(build_and_push.sh)
#
#   --region REGION          default: AWS_REGION, AWS_DEFAULT_REGION or the profile's region
#   --tag TAG                default: the git commit, with -dirty where container/ differs from it
#   --platform PLATFORM      default: linux/amd64; linux/arm64 is for Graviton endpoints alone
#   --build-arg NAME=VALUE   for container/Dockerfile; may be repeated
#   --sbom FILE              what is in the image, as CycloneDX JSON; default: sbom.cdx.json beside
#                            this script
#   --dry-run                ask AWS, say what would be done, change nothing
#
# ECR_REGISTRY in the environment is another host of the same registry.
# NAME is the repository in ECR; it is made where it is missing. The tag `latest` follows once the
# image has been verified. The last line, alone on stdout, is the image's URI.
# Exit code: 0 when pushed and verified, 1 when not, 2 for wrong arguments.
#
# It needs docker (buildx or the plain builder), the AWS CLI of either version, curl and git.
# docs/push.md has the permissions, and says what is done and why.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
docker_manifest=application/vnd.docker.distribution.manifest.v2+json
# The AWS CLI is asked by a program here: no pager, no questions.
export AWS_PAGER='' AWS_CLI_AUTO_PROMPT=off

# usage: fail MESSAGE [EXIT_CODE]
fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

# usage: say MESSAGE
say() {
  printf '==> %s\n' "$1" >&2
}

# Prints what to do about an error of the AWS CLI, Docker or the registry. A build's output can hold
# anything, so a pattern is as long as the error's own words allow.
# usage: remedy TEXT
remedy() {
  local profile=${AWS_PROFILE:+ --profile $AWS_PROFILE}
  case $1 in
    *'not authorized to perform'*)
      [[ $1 =~ perform:\ ([a-z0-9-]+:[A-Za-z]+) ]] || true
      printf 'the permission %s is missing; have it added to your policy (docs/push.md lists all)' \
        "${BASH_REMATCH[1]:-that AWS names}"
      [[ $1 != *'explicit deny'* ]] ||
        printf '; a policy denies it explicitly, as some accounts do until you sign in with MFA: aws sts get-session-token%s' "$profile"
      ;;
    *'Unable to locate credentials'* | *'Partial credentials found'*)
      printf 'there are no AWS credentials; run aws configure or aws configure sso, or set AWS_PROFILE'
      ;;
    *'config profile'*'could not be found'*)
      printf 'there is no profile %s; aws configure list-profiles shows those there are' "${AWS_PROFILE:-}"
      ;;
    *'Error loading SSO Token'* | *'The SSO session associated'* | *'Token has expired and refresh failed'*)
      printf 'the SSO session has expired or was never begun; run aws sso login%s' "$profile"
      ;;
    *'(ExpiredToken'* | *'refreshed credentials are still expired'*)
      printf 'the AWS credentials have expired; get new ones, with SSO by aws sso login%s' "$profile"
      ;;
    *'(RequestExpired'* | *'Signature expired'* | *'Signature not yet current'*)
      printf "this machine's clock is wrong; set it"
      ;;
    *'(InvalidClientTokenId'* | *'(UnrecognizedClient'* | *'(SignatureDoesNotMatch'* | *'(IncompleteSignature'* | *'(AuthFailure'*)
      printf 'AWS does not know these credentials in %s; check the keys (aws configure list%s) and that the account has the region enabled; China and GovCloud have accounts of their own' "$region" "$profile"
      ;;
    *'Enter MFA code'* | *'MultiFactorAuthentication failed'*)
      printf 'the profile wants a valid MFA code, typed in a terminal; without one, export the keys of aws sts get-session-token'
      ;;
    *'Could not connect to the endpoint'* | *'Connect timeout on endpoint'* | *'Failed to connect to proxy'*)
      printf 'AWS cannot be reached in %s; check the spelling of the region, the network, and HTTPS_PROXY' "$region"
      ;;
    *'(Throttling'* | *'(TooManyRequests'* | *'Rate exceeded'*)
      printf 'AWS answers too many requests of this account just now; run it again in a minute'
      ;;
    *'(LimitExceeded'*)
      printf "the account's quota is used up; delete what is not needed, or ask for more under Service Quotas"
      ;;
    *toomanyrequests* | *'pull rate limit'* | *'429 Too Many Requests'*)
      printf 'Docker Hub gives no more images to this address for now; run docker login, wait, or take the base image from elsewhere: --build-arg BASE_IMAGE=public.ecr.aws/docker/library/python:3.11-slim-bookworm'
      ;;
    *[Nn]'o space left on device'*)
      printf "Docker's disk is full; docker system df shows with what, docker builder prune and docker image prune free it, and Docker Desktop has its size in Settings > Resources"
      ;;
    *'exit code: 137'* | *'non-zero code: 137'*)
      printf 'a step was killed, as a rule for lack of memory; give Docker more, in Docker Desktop under Settings > Resources'
      ;;
    *'exec format error'*)
      printf 'this machine cannot run programs for %s; install emulation (docker run --privileged --rm tonistiigi/binfmt --install all), which Docker Desktop has' "$platform"
      ;;
    *'no match for platform'* | *'no matching manifest'*)
      printf 'the base image is not made for %s; take one that is: --build-arg BASE_IMAGE=...' "$platform"
      ;;
    *'no such host'* | *'i/o timeout'* | *'TLS handshake timeout'* | *'onnection refused'* | *'onnection reset'* | *'etwork is unreachable'* | *'Temporary failure in name resolution'*)
      printf "the network fails; check it, and the proxy in Docker's settings"
      ;;
    *'manifest unknown'* | *'pull access denied'* | *'failed to resolve source metadata'*)
      printf 'the base image cannot be pulled; check its name: --build-arg BASE_IMAGE=...'
      ;;
    *'cannot be overwritten because'*immutable*)
      printf 'the tag %s is taken and cannot be moved, since it is immutable; commit your changes, or choose another: --tag TAG' "$tag"
      ;;
    *docker-credential-*)
      printf "Docker's credential helper fails; mend or remove credsStore in %s" "${DOCKER_CONFIG:-$HOME/.docker}/config.json"
      ;;
    *'no basic auth credentials'* | *'authorization token has expired'* | *'authentication required'*)
      printf 'the registry does not accept the password; run it again, which gets a new one'
      ;;
    *) printf 'in its own words, %s' "$(tail -n 1 <<<"$1")" ;;
  esac
}

# Asks AWS; prints the answer as text.
# usage: ask_aws WHAT SERVICE OPERATION [ARGUMENT...]
ask_aws() {
  local what=$1
  shift
  aws --region "$region" --output text "$@" 2>"$log" ||
    fail "cannot $what: $(remedy "$(<"$log")")"
}

# Asks the registry itself; sets $status and $content_type, the answer is in $work/body. The password
# goes by stdin, since everyone on this machine can read arguments.
# usage: ask_registry PATH [CURL_ARGUMENT...]
ask_registry() {
  local path=$1 scheme=https
  shift
  # As Docker does, no TLS is asked of a registry on this machine.
  [[ $registry != 127.0.0.1:* ]] || scheme=http
  answer=$(printf 'user = "AWS:%s"\n' "$password" | curl --config - --silent --show-error \
    --location --retry 2 --connect-timeout 20 --output "$work/body" \
    --write-out '%{http_code} %{content_type}' "$@" "$scheme://$registry/v2/$name/$path" 2>"$log") ||
    fail "$registry does not answer: $(remedy "$(<"$log")")"
  read -r status content_type <<<"$answer"
}

# Prints the string that a JSON object on stdin has under a key of its own, and not of an object
# within: strings are every second piece between quotes once escapes are gone.
# It reads to the end: sed, left with nobody to write to, would end the script.
# usage: json_string KEY
json_string() {
  sed 's/\\\\//g; s/\\"//g' | awk -v RS='"' -v key="$1" '
    NR % 2 == 0 && found {if (!printed++) print; found = 0; next}
    NR % 2 == 0 {named = depth == 1 && before !~ /:[[:space:]]*$/ && $0 == key; next}
    {before = $0; found = named && /^[[:space:]]*:[[:space:]]*$/}
    {depth += gsub(/[{[]/, "") - gsub(/[]}]/, "")}'
}

name=
tag=
region=
platform=linux/amd64
dry_run=
sbom=$here/sbom.cdx.json
base=
build_options=(--file "$here/container/Dockerfile")
while (($#)); do
  case $1 in
    -h | --help)
      sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0"
      exit
      ;;
    --dry-run) dry_run=yes ;;
    --region | --tag | --platform | --sbom | --build-arg)
      [[ -n ${2:-} ]] || fail "$1 wants a value; try --help" 2
      case $1 in
        --region) region=$2 ;;
        --tag) tag=$2 ;;
        --platform) platform=$2 ;;
        --sbom) sbom=$2 ;;
        --build-arg)
          build_options+=(--build-arg "$2")
          [[ $2 != BASE_IMAGE=* ]] || base=${2#*=}
          ;;
      esac
      shift
      ;;
    -*) fail "there is no option $1; try --help" 2 ;;
    *)
      [[ -z $name ]] || fail "expected one argument, the repository's name, not $name and $1; try --help" 2
      name=$1
      ;;
  esac
  shift
done
name=${name:-simplenet-sagemaker}
[[ ${#name} -ge 2 && $name =~ ^[a-z][a-z0-9]*([._/-][a-z0-9]+)*$ ]] ||
  fail "the name is '$name'; expected lower-case letters and digits with single - _ . or / between, such as simplenet-sagemaker; a tag has an option of its own: --tag" 2
[[ -z $tag || $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
  fail "the tag is '$tag'; expected at most 128 letters, digits, _ . or -, such as v2" 2
[[ $platform == linux/amd64 || $platform == linux/arm64 ]] ||
  fail "the platform is '$platform'; expected linux/amd64, which SageMaker runs, or linux/arm64 for Graviton endpoints" 2
[[ -d $(dirname "$sbom") && -w $(dirname "$sbom") && ! -d $sbom ]] ||
  fail "the file of --sbom is '$sbom'; expected a file in a directory that is there and can be written to" 2

command -v docker >/dev/null ||
  fail 'there is no docker command; install Docker: https://docs.docker.com/get-docker/'
command -v aws >/dev/null ||
  fail 'there is no aws command; install the AWS CLI: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html'
command -v curl >/dev/null || fail 'there is no curl command; install curl'
answer=$(docker version --format '{{.Server.Version}}' 2>&1) ||
  fail "Docker does not answer: ${answer##*$'\n'}
Start Docker Desktop or the docker service; if permission is denied, join the group docker."

if [[ -z $tag ]]; then
  tag=$(git -C "$here" rev-parse --short=12 HEAD 2>&1) ||
    fail "git names no commit to tag the image with (${tag%%$'\n'*}); choose a tag: --tag TAG"
  [[ -z $(git -C "$here" status --porcelain -- container) ]] || tag+=-dirty
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log

region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
[[ -n $region ]] || region=$(aws configure get region 2>"$log") || [[ ! -s $log ]] ||
  fail "the AWS CLI names no region: $(remedy "$(<"$log")")"
[[ -n $region ]] ||
  fail 'there is no region; give one, --region eu-central-1, set AWS_REGION, or run aws configure'
[[ $region =~ ^[a-z]+(-[a-z]+)+-[0-9]+$ ]] ||
  fail "the region is '$region'; expected one such as eu-central-1 (no letter of a zone at its end)"
answer=$(ask_aws 'name the AWS account' sts get-caller-identity --query '[Account,Arn]')
read -r account caller <<<"$answer"

# The AWS CLI knows these domains and tells none; a test holds this list to those it knows.
case $region in
  cn-*) domain=amazonaws.com.cn ;;
  eusc-*) domain=amazonaws.eu ;;
  us-iso-*) domain=c2s.ic.gov ;;
  us-isob-*) domain=sc2s.sgov.gov ;;
  eu-isoe-*) domain=cloud.adc-e.uk ;;
  us-isof-*) domain=csp.hci.ic.gov ;;
  *) domain=amazonaws.com ;;
esac
registry=${ECR_REGISTRY:-$account.dkr.ecr.$region.$domain}
image=$registry/$name:$tag
((${#image} <= 255)) ||
  fail "$image has ${#image} characters; SageMaker accepts 255: choose a shorter name or tag"

say "Account $account ($caller), region $region"
say "Image $image"
[[ $tag != *-dirty ]] || say 'container/ has changes that are in no commit; the tag says so'
[[ $name == *sagemaker* ]] ||
  say "The name lacks the word sagemaker: the policy AmazonSageMakerFullAccess lets nobody push to $name"

if ! mutability=$(aws --region "$region" --output text ecr describe-repositories \
  --repository-names "$name" --query 'repositories[0].imageTagMutability' 2>"$log"); then
  grep -q RepositoryNotFound "$log" || fail "cannot look for the repository $name: $(remedy "$(<"$log")")"
  mutability=none
fi

base=${base:-$(sed -n 's/^ARG BASE_IMAGE=//p' "$here/container/Dockerfile")}
build_options+=(--platform "$platform" --tag "$image")
if revision=$(git -C "$here" rev-parse HEAD 2>/dev/null); then
  [[ -z $(git -C "$here" status --porcelain -- container) ]] || revision+=-dirty
  build_options+=(--label "org.opencontainers.image.revision=$revision")
fi

# Sets $builder, and $build, the command. buildx pushes by itself, which keeps its media types; the
# plain builder's image is pushed then.
compose_build() {
  if docker buildx version >/dev/null 2>&1; then
    builder=buildx
    # An attestation would turn the manifest into an OCI index. Before 0.10 buildx makes none.
    [[ $(docker buildx build --help 2>&1) != *--provenance* ]] ||
      build_options+=(--provenance=false --sbom=false)
    build=(docker buildx build "${build_options[@]}" --metadata-file "$work/metadata"
      --output 'type=image,oci-mediatypes=false,push=true' "$here/container")
  else
    builder=plain
    build=(docker build "${build_options[@]}" "$here/container")
  fi
}

if [[ -n $dry_run ]]; then
  compose_build
  [[ $mutability != none ]] || say "Would create the repository $name, which scans what is pushed"
  [[ -z $base ]] || say "Would fetch the base image $base, and build from its digest"
  say "Would build and push: $(printf '%q ' "${build[@]}")"
  [[ $builder == buildx ]] || say "Would push: docker push $image"
  say "Would verify the platform, the manifest's type and the digest, and move the tag latest"
  say "Would write what is in the image to $sbom"
  printf '%s\n' "$image"
  exit
fi

if [[ $mutability == none ]]; then
  say "Creating the repository $name"
  mutability=$(ask_aws "create the repository $name" ecr create-repository --repository-name "$name" \
    --image-scanning-configuration scanOnPush=true --query repository.imageTagMutability)
fi

password=$(ask_aws 'get a password for the registry' ecr get-login-password)
if ! printf %s "$password" |
  docker login --username AWS --password-stdin "$registry" >/dev/null 2>"$log"; then
  # docker-credential-ecr-login keeps no password, since it gets its own.
  grep -q 'not implemented' "$log" || fail "cannot log in to $registry: $(remedy "$(<"$log")")"
fi

if [[ $mutability == IMMUTABLE ]]; then
  ask_registry "manifests/$tag" --header "Accept: $docker_manifest"
  [[ $status != 200 ]] || fail "cannot push $image: $(remedy 'It cannot be overwritten because it is immutable')"
fi

# A tag of the base image moves, a digest does not: what is built from is what the labels say. Empty
# ones keep those of the base image, which speak of its own base, from being taken for ours.
base_digest=
if [[ $base == *@sha256:* ]]; then
  base_digest=${base##*@}
elif [[ -n $base ]]; then
  say "Fetching the base image $base"
  if docker pull --platform "$platform" "$base" >"$work/pulled" 2>"$log"; then
    base_digest=$(sed -n 's/^Digest: //p' "$work/pulled")
  else
    say "NOT PINNED: the base image cannot be fetched, the build takes what it finds: $(remedy "$(<"$log")")"
  fi
fi
[[ -z $base ]] ||
  build_options+=(--label "org.opencontainers.image.base.name=${base%%@*}"
    --label "org.opencontainers.image.base.digest=$base_digest")
if [[ -n $base_digest ]]; then
  say "Base image ${base%%@*}@$base_digest"
  build_options+=(--build-arg "BASE_IMAGE=${base%%@*}@$base_digest")
fi
compose_build
say "Building for $platform with the $builder builder"
"${build[@]}" 2>&1 | tee "$log" >&2 || fail "the build failed: $(remedy "$(tail -n 20 "$log")")"
if [[ $builder == buildx ]]; then
  pushed=$(json_string containerimage.digest <"$work/metadata")
else
  say "Pushing $image"
  # What goes to stdout, fd 3 here, has progress bars where that is a terminal.
  { docker push "$image" 2>&1 >&3 | tee "$log" >&2; } 3>&2 ||
    fail "the push failed: $(remedy "$(tail -n 20 "$log")")"
  pushed=$(docker image inspect --format '{{join .RepoDigests " "}}' "$image")
fi

say 'Verifying what was pushed'
# usage: refuse MESSAGE
refuse() {
  fail "$image is pushed, but SageMaker would refuse it: $1
The tag latest is where it was."
}
types="$docker_manifest, application/vnd.docker.distribution.manifest.list.v2+json"
types+=", application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
ask_registry "manifests/$tag" --header "Accept: $types"
[[ $status == 200 ]] || fail "the registry answers HTTP $status when asked for $image: $(remedy "$(<"$work/body")")"
mv "$work/body" "$work/manifest"
media_type=${content_type%%;*}
digest=sha256:$({ sha256sum "$work/manifest" 2>/dev/null || shasum -a 256 "$work/manifest"; } | cut -c 1-64)
[[ $media_type == "$docker_manifest" ]] ||
  refuse "its manifest is $media_type, expected $docker_manifest. Install or update buildx (docker buildx version), or turn off 'Use containerd for pulling and storing images' in Docker Desktop, and run this again."
[[ " $pushed " == *"$digest "* ]] ||
  fail "$image is now $digest, but this build pushed ${pushed:-something without a digest}: somebody else pushed the same tag; run this again or choose another: --tag TAG"
config=$(tr -d '[:space:]' <"$work/manifest" | sed 's/.*"config":{\([^}]*\)}.*/{\1}/' | json_string digest)
ask_registry "blobs/$config"
[[ $status == 200 ]] || fail "the registry answers HTTP $status when asked for the configuration of $image: $(remedy "$(<"$work/body")")"
found=$(json_string os <"$work/body")/$(json_string architecture <"$work/body")
[[ $found == "$platform" ]] ||
  refuse "it is for $found, expected $platform, and would fail with 'exec format error'. Install buildx, or fetch the base image for it (docker pull --platform $platform IMAGE); container/Dockerfile must not say --platform."
say "Verified: $found, $media_type, $digest"

if [[ $mutability == IMMUTABLE ]]; then
  say 'The tags of this repository are immutable: there is no latest'
elif [[ $tag != latest ]]; then
  ask_registry manifests/latest --request PUT --header "Content-Type: $media_type" --data-binary "@$work/manifest"
  [[ $status == 201 ]] ||
    fail "$image is pushed and verified, but the tag latest could not follow (HTTP $status): $(tag=latest remedy "$(<"$work/body")")"
  say "Tagged as latest"
fi

# The list is made from what was verified: its digest names it. buildx may not have left it here.
code=0
DOCKER_DEFAULT_PLATFORM=$platform "$here/supply/sbom.sh" "$registry/$name@$digest" \
  >"$work/sbom" 2>"$log" || code=$?
case $code in
  0)
    cp "$work/sbom" "$sbom"
    say "What is in it: $sbom"
    ;;
  127) say "NO SBOM: there is no python in the image that could list what is in it ($(tail -n 1 "$log"))" ;;
  *) fail "$image is pushed and verified, but what is in it could not be listed: $(remedy "$(<"$log")")" ;;
esac
printf '%s\n' "$image"
