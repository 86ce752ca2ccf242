# Backups, which go in and out of a volume, and all of it at its end. A part of
# scripts/compose, which sets the project.
# shellcheck shell=bash disable=SC2154

# Backups: through the volume that is the superuser's.

take_out() { docker cp "$2:/backup/$1" - | tar -x -O "$1"; }

# backup works in a shell of its own, which removes what is not whole when it ends.
backup() (
  [ $# = 1 ] || bad_usage "backup needs the name of a file"
  begin
  need_cluster
  [ ! -e "$1" ] || die "$1 is there already; name another file."
  once superuser operator backup create --force /backup/latest </dev/null >&2
  fresh=$(umask 077 && mktemp -- "$1.XXXXXX") || die "there is no place for $1."
  trap 'rm -f -- "$fresh"' EXIT
  if ! with_volume backup /backup take_out latest >"$fresh" || ! [ -s "$fresh" ]; then
    die "the backup could not be copied to $1; it is in the volume ${project}_backup."
  fi
  mv -- "$fresh" "$1"
  printf '\nCopied to %s.\n' "$1" >&2
)

# put_in gives the file to the superuser, who alone may read the volume. A link means
# what it points to.
put_in() {
  tar -c -h --owner=18021 --group=18021 --mode=0600 --transform 's|.*|loaded|' -C "$(dirname -- "$1")" -- "./$(basename -- "$1")" |
    docker cp - "$2:/backup"
}

load() {
  [ $# = 1 ] || bad_usage "load needs the name of a file"
  if ! [ -f "$1" ] || ! [ -r "$1" ]; then die "$1 is no file that can be read."; fi
  begin
  need_cluster
  take_lock
  with_volume backup /backup put_in "$1" || die "$1 could not be copied into the volume ${project}_backup."
  once superuser operator backup load /backup/loaded </dev/null
  printf '\nWith shards of this cluster in the volume %s, scripts/compose up feeds them in. Of your own:\n  scripts/compose spike operator restore < shard-1.txt\n' "${project}_recovery" >&2
}

# The end of all.

refuse_guests() {
  local others
  others=$(guests) || exit 1
  [ -z "$others" ] || die "nothing was destroyed: containers that are not the cluster's use its networks or volumes. If they may go: docker rm -f $others"
}

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
  mapfile -t list < <(everything)
  [ ${#list[@]} -eq 0 ] || quietly docker rm -f "${list[@]}" || die "containers could not be removed."
  mapfile -t list < <(volumes)
  [ ${#list[@]} -eq 0 ] || quietly docker volume rm "${list[@]}" || die "volumes could not be removed."
  mapfile -t list < <(networks)
  [ ${#list[@]} -eq 0 ] || quietly docker network rm "${list[@]}" || die "networks could not be removed."
  remove_images
}
