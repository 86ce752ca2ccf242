# What must outlive containers: recovery shards and backups, which go in and out of
# volumes, and all of it at its end. A part of scripts/compose, which sets the project.
# The images have no shell, and need none: the engine itself copies, out of a container
# that is never started.
# shellcheck shell=bash disable=SC2154

# with_volume makes such a container with the volume $1 at $2, runs "$3…" with its id,
# and removes it.
with_volume() {
  local volume=$1 at=$2 container code=0
  shift 2
  # Compose v2 makes a volume when a service first wants it.
  quietly docker volume create --label "com.docker.compose.project=$project" --label "com.docker.compose.volume=$volume" "${project}_$volume" ||
    die "the volume ${project}_$volume cannot be made."
  container=$(docker create --network none --label "com.docker.compose.project=$project" \
    -v "${project}_$volume:$at" "$project/spike") || die "the volume ${project}_$volume cannot be looked into."
  "$@" "$container" || code=$?
  quietly docker rm "$container" || code=1
  return "$code"
}

# Recovery shards: a folder for each cluster, so that no set takes another's place.

# cluster_id is Nexus's word, and becomes part of names here.
cluster_id() {
  local id
  id=$(field cluster)
  [[ $id =~ ^[0-9a-f]{32}$ ]] || die "Nexus names no cluster: \"$id\""
  printf '%s' "$id"
}

list_shards() { docker cp "$1:/recovery" - | tar -t | sed -n 's|^recovery/\([0-9a-f]*\)/shard-[0-9]*\.txt$|\1|p' | sort -u | paste -sd ' '; }
shard_sets() { with_volume recovery /recovery list_shards; }
has_shards() { [[ " $(shard_sets) " == *" $1 "* ]]; }

copy_shards() { docker cp "$2:/recovery/$1" - | tar -x -O --wildcards "$1/shard-*.txt"; }
show_shards() { with_volume recovery /recovery copy_shards "$1"; }

export_shards() {
  quietly once recover operator recover --dir "/recovery/$(cluster_id)" </dev/null ||
    die "the recovery shards could not be written to the volume ${project}_recovery."
}

# unpack_shards writes them one by one: what else is in the volume, such as a link in
# the place of a shard, does not get out.
unpack_shards() {
  local name
  for name in $(docker cp "$3:/recovery/$2" - | tar -t | sed -n "s|^$2/\(shard-[0-9]*\.txt\)\$|\1|p"); do
    (umask 077 && docker cp "$3:/recovery/$2/$name" - | tar -x -O "$name" >"$1/$name") || return
  done
}

shards() {
  local cluster
  [ $# = 1 ] || bad_usage "shards needs the name of a folder"
  find_engine
  need_cluster
  [ ! -e "$1" ] || die "$1 is there already; name a folder that is not."
  look || die "$complaint"
  cluster=$(cluster_id)
  has_shards "$cluster" || die "the volume ${project}_recovery has no recovery shards of this cluster. Run scripts/compose up, which exports them"
  mkdir -m 0700 -- "$1" || die "the folder could not be made."
  with_volume recovery /recovery unpack_shards "$1" "$cluster" || die "the recovery shards could not be copied."
  ls -- "$1"
  printf '\nGive each to a different person, to be kept offline; then remove the folder. In the\nvolume %s the same shards stay, for scripts/compose up.\n' "${project}_recovery" >&2
}

# Backups: through the volume that is the superuser's.

take_out() { docker cp "$2:/backup/$1" - | tar -x -O "$1"; }

backup() {
  local fresh
  [ $# = 1 ] || bad_usage "backup needs the name of a file"
  find_engine
  need_cluster
  [ ! -e "$1" ] || die "$1 is there already; name another file."
  once superuser operator backup create --force /backup/latest </dev/null >&2
  fresh=$(umask 077 && mktemp "$1.XXXXXX") || die "there is no place for $1."
  if ! with_volume backup /backup take_out latest >"$fresh" || ! [ -s "$fresh" ]; then
    rm -f -- "$fresh"
    die "the backup could not be copied to $1; it is in the volume ${project}_backup."
  fi
  mv -- "$fresh" "$1"
  printf '\nCopied to %s.\n' "$1" >&2
}

# put_in gives the file to the superuser, who alone may read the volume.
put_in() {
  tar -c --owner=18021 --group=18021 --mode=0600 --transform 's|.*|loaded|' -C "$(dirname -- "$1")" -- "$(basename -- "$1")" |
    docker cp - "$2:/backup"
}

load() {
  [ $# = 1 ] || bad_usage "load needs the name of a file"
  if ! [ -f "$1" ] || ! [ -r "$1" ]; then die "$1 is no file that can be read."; fi
  find_engine
  need_cluster
  with_volume backup /backup put_in "$1" || die "$1 could not be copied into the volume ${project}_backup."
  once superuser operator backup load /backup/loaded </dev/null
  printf '\nWith shards of this cluster in the volume %s, scripts/compose up feeds them in. Of your own:\n  scripts/compose spike operator restore < shard-1.txt\n' "${project}_recovery" >&2
}

# The end of all.

confirm_destruction() {
  local answer
  cat <<TEXT
This destroys the cluster $project for good:

$(volumes | sed "s/^${project}_data\$/&: every secret, and its policies/; s/^${project}_recovery\$/&: the recovery shards/; s/^${project}_backup\$/&: backups/; s/^${project}_workload-api\$/&: the Workload API's socket/; s/^/  the volume /")
  and its containers, networks and images

What was copied out by scripts/compose backup and scripts/compose shards stays, and
both together bring the secrets back.

TEXT
  printf 'To go on, type the name of the cluster: '
  read -r answer || true
  [ "$answer" = "$project" ] || die "nothing was destroyed."
}

destroy_all() {
  local list
  end_containers
  # What a command that was killed may have left.
  mapfile -t list < <(containers)
  [ ${#list[@]} -eq 0 ] || quietly docker rm -f "${list[@]}" || die "containers could not be removed."
  mapfile -t list < <(volumes)
  [ ${#list[@]} -eq 0 ] || quietly docker volume rm "${list[@]}" || die "volumes could not be removed."
  mapfile -t list < <(networks)
  [ ${#list[@]} -eq 0 ] || quietly docker network rm "${list[@]}" || die "networks could not be removed."
  remove_images
}
