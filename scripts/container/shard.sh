# Recovery shards, which are kept in a volume, and what depends on them: whether the
# containers may end. A part of scripts/compose, which sets the project.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# with_volume runs "$3…" with the id of a container that has the volume $1 at $2. The
# images have no shell, and need none: the engine itself copies, out of a container that
# is never started. It is removed, whatever ends this.
with_volume() (
  volume=$1 at=$2 container=""
  shift 2
  # Compose v2 makes a volume when a service first wants it.
  quietly docker volume create --label "com.docker.compose.project=$project" --label "com.docker.compose.volume=$volume" "${project}_$volume" ||
    die "the volume ${project}_$volume cannot be made."
  trap '[ -z "$container" ] || docker rm -f "$container" >/dev/null' EXIT
  # A name without an image is one that the engine would fetch from wherever it gets
  # images: what comes from there must not be given the volume, nor stay with our name.
  container=$(docker create --pull never --network none --label "com.docker.compose.project=$project" \
    -v "${project}_$volume:$at" "$project/spike") || die "the volume ${project}_$volume cannot be looked into."
  "$@" "$container"
)

# cluster_id is Nexus's word, and becomes part of names here.
cluster_id() {
  local id
  id=$(field cluster)
  [[ $id =~ ^[0-9a-f]{32}$ ]] || die "Nexus names no cluster: \"$id\""
  printf '%s' "$id"
}

# list_shards prints a line for each shard in the volume: folder, index, cluster, key.
# What a shard is of, it says itself: folders have whatever names people gave them.
list_shards() {
  # shellcheck disable=SC2016 # tar runs it
  docker cp "$1:/recovery" - | tar -x --to-command='
    case $TAR_FILENAME in
      recovery/*/shard-*.txt)
        printf "%s " "$TAR_FILENAME"
        sed -n "s/^spike:\([0-9]*\):[0-9a-f]*:\([0-9a-f]*\):\([0-9a-f]*\):[0-9a-f]*$/\1 \2 \3/p"
        echo
        ;;
      *) cat >/dev/null ;;
    esac' |
    sed -nE 's#^recovery/([A-Za-z0-9][A-Za-z0-9._-]*)/shard-[0-9]+\.txt ([0-9]+ [0-9a-f]{32} [0-9a-f]{32})$#\1 \2#p'
}
kept_shards() { with_volume recovery /recovery list_shards; }

# kept_clusters names those that there are shards of.
kept_clusters() { kept_shards | cut -d ' ' -f 3 | sort -u | paste -sd ' '; }

# shard_folder names a folder with enough shards of the cluster and the key that $status
# speaks of, or nothing.
shard_folder() {
  kept_shards | awk -v cluster="$(field cluster)" -v key="$(field keyId)" -v enough="$(field threshold)" '
    $3 == cluster && $4 == key && !seen[$1, $2]++ && ++count[$1] == enough && folder == "" { folder = $1 }
    END { print folder }'
}
has_shards() { [ -n "$(shard_folder)" ]; }

copy_shards() { docker cp "$2:/recovery/$1" - | tar -x -O --wildcards "$1/shard-*.txt"; }

# show_shards prints them for standard input of another. They are never in a variable.
show_shards() { with_volume recovery /recovery copy_shards "$1"; }

export_shards() {
  quietly once recover operator recover --dir "/recovery/$(cluster_id)" </dev/null ||
    die "the recovery shards could not be written to the volume ${project}_recovery."
}

# keep_shards sees to it that there are shards of an open Nexus's cluster.
keep_shards() { has_shards || export_shards; }

# unpack_shards writes them one by one: what else is in the volume, such as a link in
# the place of a shard, does not get out.
unpack_shards() {
  local name names
  names=$(docker cp "$3:/recovery/$2" - | tar -t | sed -n "s|^$2/\(shard-[0-9]*\.txt\)\$|\1|p") || return
  [ -n "$names" ] || return
  for name in $names; do
    (umask 077 && docker cp "$3:/recovery/$2/$name" - | tar -x -O "$name" >"$1/$name" && [ -s "$1/$name" ]) || return
  done
}

# shards fills a folder aside, so that there is the whole set or nothing.
shards() (
  [ $# = 1 ] || bad_usage "shards needs the name of a folder"
  begin
  need_cluster
  [ ! -e "$1" ] || die "$1 is there already; name a folder that is not."
  look || die "$complaint"
  folder=$(shard_folder)
  [ -n "$folder" ] || die "the volume ${project}_recovery has no recovery shards of this cluster. To have them written there: scripts/compose spike operator recover --dir /recovery/$(cluster_id)"
  fresh=$(mktemp -d -- "${1%/}.XXXXXX") || die "there is no place for the folder $1."
  trap 'rm -rf -- "$fresh"' EXIT
  with_volume recovery /recovery unpack_shards "$fresh" "$folder" || die "the recovery shards could not be copied."
  mv -T -- "$fresh" "$1"
  ls -- "$1"
  printf '\nGive each to a different person, to be kept offline; then remove the folder. In the\nvolume %s the same shards stay, for scripts/compose up.\n' "${project}_recovery" >&2
)

# Whether containers may end.

among() { [[ " ${*:2} " == *" $1 "* ]]; }

# may_end tells whether the root key outlasts the end of the services "$@". It is lost
# with Nexus and too many Keepers at once, unless recovery shards are kept. Where it
# must not be, reason says why, and what to type; kept is shards, nothing or lost.
may_end() {
  local service runs nexus="" keepers=0 stay=()
  reason="" kept=""
  runs=$(running) || exit 1 # not "nothing runs"
  for service in $runs; do
    case $service in
      nexus) if among nexus "$@"; then nexus=ends; else nexus=stays; fi ;;
      keeper-*) if among "$service" "$@"; then keepers=$((keepers + 1)); else stay+=("$service"); fi ;;
    esac
  done
  [ "$nexus" = ends ] || [ "$keepers" -gt 0 ] || return 0
  if [ -z "$nexus" ] || ! look; then
    # Two are enough, and hold what they were given.
    [ ${#stay[@]} -lt 2 ] || return 0
    reason="Whether recovery shards of its cluster are kept, only Nexus knows, and it does not answer. Start what is missing, and try again: scripts/compose up${complaint:+

$complaint
}"
    return 1
  fi
  case $(field state) in
    uninitialized)
      kept=nothing
      [ "$keepers" -gt 0 ] && [ "$(holding 'share|corrupt|foreign|stale|other')" -gt 0 ] || return 0
      reason="Nexus has no cluster, but Keepers hold shares of one: another data volume was there before, and they may be the only ones that can open it. Put it back, or load a backup of it: scripts/compose load FILE"
      return 1
      ;;
    open | behind) [ "$nexus" = ends ] || return 0 ;;
  esac
  [ "$(holders | grep -cxF "$(printf '%s\n' "${stay[@]}")")" -lt "$(field threshold)" ] || return 0
  if has_shards; then
    kept=shards
    return 0
  fi
  if [ "$(field state)" = locked ] && [ "$(holding 'share|pending|unknown')" -lt "$(field threshold)" ]; then
    kept=lost
    return 0
  fi
  reason="The root key of this cluster is in memory alone, and the volume ${project}_recovery has no recovery shards of it."
  if [ "$(field state)" = locked ]; then
    reason+=" Nexus is locked, and some Keepers may hold shares: let it open first, by scripts/compose up"
  else
    reason+=" To have them written there first: scripts/compose spike operator recover --dir /recovery/$(cluster_id)"
  fi
  return 1
}

# guard_key refuses a command that would lose the root key.
guard_key() {
  local command=$1
  shift
  may_end "$@" || die "nothing was ended: the root key would be lost. $reason
To go on all the same, where people hold enough recovery shards: scripts/compose $command --force"
}
