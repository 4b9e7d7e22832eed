#!/usr/bin/env bash
# Set up a checkout: system packages, uv, the locked environment in .venv. Run by the Makefile; running it twice is quick.
#
#   deployments/setup.sh python   the environment only
#   deployments/setup.sh demo     that, and what `make demo` calls: SoftHSM, openssl, curl
#   deployments/setup.sh test     that, what the tests compile, and the foreign programs they talk to
#
# Nothing outside the checkout changes but system packages that are missing. Every step is written so that an interrupted
# run is simply repeated: downloads are renamed into place, and the stamp is the last thing written.
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

purpose=${1:-demo}
root=$PWD
tools=$root/.tools
log=$tools/setup.log
stamp=$root/.venv/.pncpki-ready
uv_oldest=0.13.0 # reads this uv.lock, and knows UV_SYSTEM_CERTS and a cool-down in days

say() { printf 'setup: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

fail() {
  say "$1"
  exit 1
}

# --- system packages ----------------------------------------------------------------------------------------------

# The names of one thing under each package manager: apt-get, dnf, apk, brew ("-" = comes with the system).
package_name() {
  case "$1" in
    softhsm) set -- softhsm2 softhsm softhsm softhsm ;;
    openssl) set -- openssl openssl openssl openssl@3 ;;
    certificates) set -- ca-certificates ca-certificates ca-certificates - ;;
    compiler) set -- "gcc libc6-dev libp11-kit-dev" "gcc glibc-devel p11-kit-devel" "gcc musl-dev p11-kit-dev" p11-kit ;;
    python) set -- python3 python3 python3 python3 ;;
    curl) set -- curl curl curl curl ;;
    gnutls) set -- gnutls-bin gnutls-utils gnutls-utils gnutls ;;
    nss) set -- libnss3-tools nss-tools nss-tools nss ;;
    java) set -- default-jdk-headless java-devel openjdk17-jdk openjdk ;;
    bouncycastle) set -- "libbcprov-java libbcpkix-java libbcutil-java libbctls-java" "bouncycastle bouncycastle-pkix" - - ;;
    strongswan) set -- "strongswan-pki libstrongswan-standard-plugins" strongswan strongswan strongswan ;;
    nginx) set -- nginx-light nginx nginx nginx ;;
    haproxy) set -- haproxy haproxy haproxy haproxy ;;
    wrk) set -- wrk - wrk wrk ;; # for make bench
  esac
  case "$manager" in
    apt-get) echo "$1" ;; dnf) echo "$2" ;; apk) echo "$3" ;; brew) echo "$4" ;;
  esac | grep -v '^-$' || true
}

find_manager() {
  for manager in apt-get dnf apk brew; do
    if has "$manager"; then return; fi
  done
  manager=
}

# Prints the words that go before a command to run it as root; fails where that is not allowed.
as_root() {
  if [ "$manager" = brew ] || [ "$(id -u)" = 0 ]; then return; fi
  has sudo && sudo -n true 2>/dev/null && echo "sudo -n"
}

run_manager() { # shellcheck disable=SC2086  # $before and the package list are words
  case "$manager" in
    apt-get)
      $before env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 \
        -o Acquire::http::Timeout=30 -qq "$@"
      ;;
    *) $before "$manager" "$@" ;;
  esac >>"$log" 2>&1 9>&-
}

install_packages() {
  case "$manager" in
    # The package lists of a fresh machine or image are empty or old: fetch them only when the first try fails.
    apt-get)
      run_manager install -y --no-install-recommends "$@" ||
        { run_manager update && run_manager install -y --no-install-recommends "$@"; }
      ;;
    dnf) run_manager install -y "$@" ;;
    apk) run_manager add "$@" ;;
    brew) run_manager install "$@" ;;
  esac
}

# provide THINGS...: install what is missing; 1 where that is not possible, after saying what to ask the administrator.
provide() {
  local names="" thing before
  find_manager
  for thing in "$@"; do names="$names $(package_name "$thing")"; done
  names=$(echo $names) # one space between names
  if [ -z "$manager" ]; then
    say "missing: $* (and no package manager that this script knows)"
    return 1
  fi
  if ! before=$(as_root); then
    say "missing: $names; this user may not install packages. Ask an administrator: $manager install $names"
    return 1
  fi
  say "installing $names ..."
  # shellcheck disable=SC2086  # a list of words
  if ! install_packages $names; then
    say "$manager could not install $names; the end of $log:"
    tail -n 4 "$log" >&2
    return 1
  fi
}

has_certificates() {
  local file
  for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -n "$file" ] && [ -r "$file" ]; then return 0; fi
  done
  return 1
}

has_compiler() {
  has cc && printf '#include <stdlib.h>\n#include <p11-kit/pkcs11.h>\n' |
    cc -E -I/usr/include/p11-kit-1 -I/opt/homebrew/include/p11-kit-1 - >/dev/null 2>&1
}

provide_system_packages() {
  local needed=()
  has softhsm2-util || needed+=(softhsm)
  has openssl || needed+=(openssl)
  has curl || needed+=(curl)
  if [ "$purpose" = test ] && ! has_compiler; then needed+=(compiler); fi
  if [ ${#needed[@]} -eq 0 ] || provide "${needed[@]}"; then return; fi
  if [ "$purpose" = test ]; then fail "the tests cannot run without them"; fi
  has openssl || fail "openssl verifies the demo's certificates: it cannot run without"
  say "going on without a SoftHSM token: keys are kept in a development key file, good for a look only"
}

# The clients and proxies the interop tests run. A test skips, and says so, where its program is not there.
provide_foreign_programs() {
  local needed=() bouncycastle=/usr/share/java/bcpkix.jar
  has ocsptool || needed+=(gnutls)
  has crlutil || needed+=(nss)
  has javac || needed+=(java)
  [ -e "$bouncycastle" ] || needed+=(bouncycastle)
  has pki || needed+=(strongswan)
  has wrk || needed+=(wrk)
  # Where a system starts services, installing these would start them: a test run must not open ports on somebody's machine.
  if [ ! -d /run/systemd/system ] && [ ! -d /run/openrc ]; then
    has nginx || [ -x /usr/sbin/nginx ] || needed+=(nginx)
    has haproxy || [ -x /usr/sbin/haproxy ] || needed+=(haproxy)
  fi
  if [ ${#needed[@]} -eq 0 ] || provide "${needed[@]}"; then return; fi
  say "going on without: the tests that need them skip"
}

# --- Python and uv ------------------------------------------------------------------------------------------------

# Sets $python to a Python of 3.11 or later with its whole standard library (Debian's python3-minimal lacks parts of it).
find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if has "$candidate" && python=$("$candidate" -c 'import sys, ssl, sqlite3, urllib.request, zipfile
print(sys.executable)
sys.exit(sys.version_info < (3, 11))' 2>/dev/null); then
      return 0
    fi
  done
  return 1
}

# Sets $uv: the machine's own if recent enough, else the pinned one in .tools.
find_uv() {
  local found
  if has uv && found=$(uv --version 2>/dev/null) && found=$(echo "$found" | cut -d' ' -f2) &&
    [ "$(printf '%s\n' "$uv_oldest" "$found" | sort -V | head -n1)" = "$uv_oldest" ]; then
    uv=uv
    return
  fi
  uv=$tools/uv-$("$python" deployments/setup_uv.py version)
  if [ ! -x "$uv" ]; then
    say "fetching uv ..."
    "$python" deployments/setup_uv.py fetch "$uv" || fail "no uv: see above; or install uv $uv_oldest or later and run again"
  fi
}

# --- the environment ----------------------------------------------------------------------------------------------

# What the environment was made from. The path is part of it: scripts in .venv/bin hold it.
fingerprint() {
  { echo "$root"; cat uv.lock pyproject.toml deployments/setup.sh; } | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-64
}

is_ready() { [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && .venv/bin/python -c '' 2>/dev/null; }

# A lock file names the files of pypi.org. Where a mirror is configured, the same versions come from there, by hash.
has_other_index() {
  case "${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-}}" in
    "" | https://pypi.org/simple | https://pypi.org/simple/) [ -n "${SETUP_NO_INDEX:-}" ] ;;
    *) return 0 ;;
  esac
}

sync_from_other_index() {
  local requirements=$tools/requirements.txt
  "$uv" export --quiet --frozen --no-emit-project --format requirements.txt --output-file "$requirements" >/dev/null || return
  "$uv" venv --quiet --allow-existing --python "$python" .venv || return
  # Without the project's own uv settings: a mirror may not say when a file was uploaded. Hashes pin every file anyway.
  UV_NO_CONFIG=1 UV_INDEX_STRATEGY=unsafe-best-match "$uv" pip install --quiet --python .venv/bin/python --exact \
    ${SETUP_NO_INDEX:+--no-index} --compile-bytecode --require-hashes --requirements "$requirements" || return
  UV_NO_CONFIG=1 "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
}

make_environment() {
  unset VIRTUAL_ENV CONDA_PREFIX
  export UV_PROJECT_ENVIRONMENT=$root/.venv UV_PYTHON_DOWNLOADS=never
  if ! { [ -n "${HOME:-}" ] && [ -w "$HOME" ]; }; then export UV_CACHE_DIR=${UV_CACHE_DIR:-$tools/uv-cache}; fi
  eval "$("$python" deployments/setup_uv.py environment)"
  # The system's certificates, as pip and curl use them: uv's own list knows no company proxy.
  if has_certificates; then export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}; fi
  find_uv
  say "installing the locked Python packages into .venv (Python $("$python" -c 'import platform; print(platform.python_version())')) ..."
  # No stamp: a run was killed, and uv trusts a half-copied package. No Python: it was upgraded away. Both start afresh.
  if ! { [ -e "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; }; then rm -rf .venv; fi
  rm -f "$stamp"
  if has_other_index; then
    sync_from_other_index
  else
    "$uv" sync --quiet --frozen --python "$python" --compile-bytecode
  fi || fail "the Python packages could not be installed"
  fingerprint >"$stamp.part"
  mv "$stamp.part" "$stamp"
}

main() {
  SECONDS=0
  mkdir -p "$tools"
  # Two makes in one checkout take turns. The lock goes with the process, however it ends.
  if has flock; then
    exec 9>"$tools/lock"
    flock 9
  fi
  : >"$log"
  if [ "$purpose" != python ]; then provide_system_packages; fi
  if [ "$purpose" = test ]; then provide_foreign_programs; fi
  if is_ready; then return; fi
  has_certificates || provide certificates || true
  find_python || { provide python && find_python; } || fail "Python 3.11 or later is needed and was not found"
  make_environment
  say "ready after $SECONDS s"
}

main
