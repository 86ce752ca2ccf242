# The folder of a local cluster: what is where in it, whose it must be, who is at work
# in it, and what is copied to it. A part of scripts/start.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# set_folder names everything by the folder $1, which may not be there yet.
set_folder() {
  local=$(realpath -m -- "$1") again=scripts/start
  # What the user is told to type must mean this cluster in another shell as well.
  [ -z "${SPIKE_LOCAL_DIR-}" ] || again="SPIKE_LOCAL_DIR=$(printf '%q' "$local") scripts/start"
  bin=$local/bin config=$local/config data=$local/data recover=$local/recover log=$local/log run=$local/run
  socket=$run/identity.sock
  case $local in
    *[!A-Za-z0-9/._@+~,=\ -]*) die "the name of the folder $local has a character that a socket's address cannot have. Use another: SPIKE_LOCAL_DIR=~/spike-local scripts/start" ;;
  esac
  if [ "$(printf '%s' "$socket" | wc -c)" -gt 107 ]; then
    die "the name of the folder $local is too long: a Unix socket's may have 107 bytes, and it would be $socket. Use a shorter one: SPIKE_LOCAL_DIR=~/spike-local scripts/start"
  fi
  # What the script itself decides wins over the caller's settings; other SPIKE_
  # variables go through to the programs.
  common=(
    -u SPIKE_TRUST_ROOT_NEXUS -u SPIKE_TRUST_ROOT_KEEPER -u SPIKE_TRUST_ROOT_PILOT -u SPIKE_TRUST_ROOT_LITE_WORKLOAD
    SPIKE_TRUST_ROOT=spike.ist SPIKE_LOCAL_CLUSTER="$local" SPIFFE_ENDPOINT_SOCKET="unix://$socket"
    SPIKE_SYSTEM_LOG_LEVEL="${SPIKE_SYSTEM_LOG_LEVEL:-INFO}"
  )
}

# check_folder wants what is there to be the caller's alone. Whoever else can write in
# it decides what runs as the caller; and root, writing in another user's folder,
# could be led by links to files anywhere.
check_folder() {
  local folder owner mode cure
  for folder in "$local" "$bin" "$config" "$data" "$recover" "$log" "$run"; do
    [ -e "$folder" ] || continue
    [ -d "$folder" ] || die "$folder is not a folder. Name another: SPIKE_LOCAL_DIR=FOLDER scripts/start"
    owner=$(stat -Lc %U "$folder") mode=$(stat -Lc %a "$folder")
    [ "$owner" != UNKNOWN ] || owner="uid $(stat -Lc %u "$folder")"
    if ! [ -O "$folder" ]; then
      cure="Run this as $owner"
      [ "$owner" != root ] || cure+=", or have root stop it and give it to you: scripts/start --stop; chown -R $(me) $(printf '%q' "$local")"
      die "the folder $folder belongs to $owner, and this is $(me): who owns it decides what runs there. $cure. Or have another cluster: SPIKE_LOCAL_DIR=FOLDER scripts/start"
    fi
    if ((8#$mode & 8#022)); then
      cure="Run: chmod go-w $(printf '%q' "$folder")"
      # A folder such as /tmp is meant for everybody.
      ((!(8#$mode & 8#1000))) || cure="Name another: SPIKE_LOCAL_DIR=FOLDER scripts/start"
      die "others than $owner may write the folder $folder, and so put programs of theirs in it. $cure"
    fi
  done
}

# take_lock lets two starts, or a start and a stop, go one after the other.
take_lock() {
  mkdir -p "$run" || die "the folder $run cannot be made; the line above says why."
  umask 077
  { exec {lock}>>"$run/lock"; } 2>/dev/null || die "the folder $run cannot be written by $(me)."
  umask 022
  if ! flock -n "$lock"; then
    say "Another scripts/start is at work in $local; waiting for it."
    flock -w 120 "$lock" || die "it has not ended within two minutes. Look for it, end it, and try again."
  fi
  [ "/proc/self/fd/$lock" -ef "$run/lock" ] || die "the folder $local was removed meanwhile. Try again."
}

has_data() { [ -e "$config/ports" ] && [ -n "$(ls -A "$data" 2>/dev/null)" ]; }

# stage puts copies of what is new beside what it is to replace: if there is no room,
# nothing has happened yet. A program that is being run keeps its copy, since the
# identity provider knows it by its file.
stage() {
  local program member used
  mkdir -p "$bin" "$config" "$data" "$log" || die "the folders in $local could not be made; the line above says why."
  chmod 0700 "$data" "$log"
  unstage
  for program in identity keeper nexus spike; do
    used=""
    for member in $running; do
      [ "$(program_of "$member")" != "$program" ] || used=1
    done
    if [ -n "$used" ] || cmp -s "$root/bin/$program" "$bin/$program"; then continue; fi
    cp "$root/bin/$program" "$bin/.$program.new" || unstaged
  done
  cp "$root/config/identity/local.yaml" "$config/.local.yaml.new" || unstaged
  say "$ports" >"$config/.ports.new" || unstaged
}

unstage() { rm -f "$bin"/.*.new "$config"/.*.new; }

unstaged() {
  unstage
  die "the cluster's files could not be copied to $local; the line above says why. Nothing was changed."
}

# install puts what was staged in its place.
install() {
  local program
  for program in identity keeper nexus spike; do
    if [ -e "$bin/.$program.new" ]; then mv -f "$bin/.$program.new" "$bin/$program"; fi
  done
  mv -f "$config/.local.yaml.new" "$config/local.yaml"
  [ -e "$config/ports" ] || new_ports=1
  mv -f "$config/.ports.new" "$config/ports"
}
