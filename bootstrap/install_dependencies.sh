#!/usr/bin/env bash
# EMR bootstrap action. Creates a Python 3.11 virtual environment on every node, with the hash-pinned packages of the Spark jobs;
# the primary node gets TensorFlow too, for exporting the model. A second run with the same requirements changes nothing.
#
#   install_dependencies.sh --requirements s3://… --primary-requirements s3://… [--wheelhouse s3://…/]
#
# With a wheelhouse nothing is downloaded from PyPI: for clusters without internet access, and for faster starts. To fill one:
#   make wheelhouse ARCH=x86_64 && aws s3 sync wheelhouse/x86_64 s3://…/
set -euo pipefail

readonly FOLDER=${FRUITS_NODE_FOLDER:-/opt/fruits}
readonly VENV=$FOLDER/venv
readonly NODE_INFO=${FRUITS_NODE_INFO:-/mnt/var/lib/info/instance.json} # written by EMR before bootstrap actions run

fail() {
  printf 'install_dependencies: %s\n' "$1" >&2
  exit 1
}

requirements='' primary_requirements='' wheelhouse=''
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 needs a value"
  case "$1" in
  --requirements) requirements=$2 ;;
  --primary-requirements) primary_requirements=$2 ;;
  --wheelhouse) wheelhouse=$2 ;;
  *) fail "unknown option $1: expected --requirements, --primary-requirements or --wheelhouse" ;;
  esac
  shift 2
done
[ -n "$requirements" ] || fail "--requirements is missing"
[ -n "$primary_requirements" ] || fail "--primary-requirements is missing"

if grep -q '"isMaster": *true' "$NODE_INFO" 2>/dev/null; then
  node=primary
  chosen=$primary_requirements
else
  node=core
  chosen=$requirements
fi

sudo mkdir -p "$FOLDER"
sudo chown "$(id -u):$(id -g)" "$FOLDER"
aws s3 cp --only-show-errors "$chosen" "$FOLDER/requirements.txt" || fail "cannot read $chosen: does it exist, and does the instance profile allow s3:GetObject on it?"

# Nothing to do if these are the requirements that were installed last.
if [ -x "$VENV/bin/python" ] && cmp -s "$FOLDER/requirements.txt" "$FOLDER/installed.txt"; then
  echo "install_dependencies: $node node, up to date"
  exit 0
fi

if ! command -v python3.11 >/dev/null; then
  sudo dnf install -y -q python3.11 python3.11-pip || fail "python3.11 could not be installed: EMR releases before 7.0 are not supported"
fi

source_options=()
if [ -n "$wheelhouse" ]; then
  aws s3 sync --only-show-errors "$wheelhouse" "$FOLDER/wheelhouse" || fail "cannot read the wheelhouse $wheelhouse: does the instance profile allow s3:ListBucket and s3:GetObject there?"
  compgen -G "$FOLDER/wheelhouse/*.whl" >/dev/null || fail "the wheelhouse $wheelhouse has no wheel: make wheelhouse ARCH=$(uname -m), and copy wheelhouse/$(uname -m)/ there"
  source_options=(--no-index --find-links "$FOLDER/wheelhouse")
fi

rm -rf "$VENV"
python3.11 -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
  --require-hashes "${source_options[@]+"${source_options[@]}"}" -r "$FOLDER/requirements.txt" ||
  fail "could not install the packages of $chosen${wheelhouse:+ from $wheelhouse} on $(uname -m) with $(df -Pm "$FOLDER" | awk 'NR == 2 {print $4}') MB free: see pip's error above"
rm -rf "$FOLDER/wheelhouse"
cp "$FOLDER/requirements.txt" "$FOLDER/installed.txt"
echo "install_dependencies: $node node, $(uname -m), Python packages in $VENV: $(du -sm "$VENV" | cut -f1) MB, $SECONDS s"
