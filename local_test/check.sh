#!/usr/bin/env bash
# Runs any image as SageMaker would, and says rule by rule what would go wrong there.
#
# usage: check.sh IMAGE [--train DIR] [--payload FILE --content-type TYPE] ...    (all: --help)
#    ie: check.sh my-own-image --train data/ --payload rows.csv --content-type text/csv
#
# It needs Docker and Python 3.10 or newer, and nothing else.
# Exit code: 0 if no rule failed, 1 if one did, 2 for wrong arguments, 3 if no run was possible, or
# not of each rule.
set -euo pipefail

python=${PYTHON:-python3}

command -v "$python" >/dev/null || {
  echo "check.sh: there is no $python; install Python 3.10 or newer, and name it if it is" \
    "called otherwise: PYTHON=python3.12 $0 ..." >&2
  exit 3
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "check.sh: $python is $("$python" --version 2>&1), expected Python 3.10 or newer; macOS" \
    "brings an older one: install one beside it, and name it: PYTHON=python3.12 $0 ..." >&2
  exit 3
}

# Isolated (-I): with the user's directory on the path, a json.py there would be run. Python also
# follows links to this script, which the readlink of macOS before 12.3 cannot.
exec "$python" -I -c '
import os, sys
sys.path.insert(0, os.path.dirname(os.path.realpath(sys.argv.pop(1))))
from conformance.__main__ import main
sys.exit(main())' "${BASH_SOURCE[0]}" "$@"
