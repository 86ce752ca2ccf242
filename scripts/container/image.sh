# Images: one static program each, out of what scripts/build made. A part of
# scripts/compose, which sets the project.
# shellcheck shell=bash disable=SC2154

readonly images="identity nexus keeper spike"

# image_of names the image of a service.
image_of() {
  case $1 in
    identity | nexus) printf '%s/%s' "$project" "$1" ;;
    keeper-*) printf '%s/keeper' "$project" ;;
    *) printf '%s/spike' "$project" ;;
  esac
}

# stage gathers what each image is made of. The modes are set here: a new volume takes
# them, with the owner, from the folder in the image.
stage() {
  local name to=$root/bin/image
  for name in $images; do
    mkdir -p -- "$to/$name"
    install -m 0755 -- "$root/bin/$name" "$to/$name/$name"
    install -m 0644 -- "$root/config/image/$name.Dockerfile" "$to/$name/Dockerfile"
  done
  install -m 0644 -- "$root/config/identity/compose.yaml" "$to/identity/entries.yaml"
  install -d -m 0755 -- "$to/identity/volume" "$to/identity/volume/workload-api"
  install -d -m 0755 -- "$to/nexus/volume" "$to/spike/superuser" "$to/spike/recover"
  install -d -m 0700 -- "$to/nexus/volume/data" "$to/spike/superuser/backup" "$to/spike/recover/recovery"
}

# lock_images lets one after the other build or remove images. Clusters of one checkout
# share what is in bin and the layers that images are made of: of two who remove their
# images at the same moment, each leaves those layers to the other.
lock_images() {
  mkdir -p -- "$root/bin"
  exec {image_lock}>>"$root/bin/.image.lock"
  flock "$image_lock"
}
unlock_images() { exec {image_lock}>&-; }

build_images() {
  lock_images
  "$root/scripts/build"
  "$root/bin/identity" check --entries "$root/config/identity/compose.yaml" >/dev/null ||
    die "the entries cannot be used; the lines above say why."
  stage
  # One service for each image.
  quietly compose build identity nexus keeper-1 init || die "the images could not be built; the lines above say why."
  unlock_images
}

need_images() {
  local name
  for name in $images; do
    docker image inspect "$project/$name" >/dev/null 2>&1 ||
      die "there is no image $project/$name. Build it: scripts/compose build, or without Go as docs/compose.md says"
  done
}

# remove_dangling removes images of ours that newer ones took the names of. An engine
# does that for one at a time, whoever asks, and refuses the others.
remove_dangling() {
  local try words=""
  for try in {1..30}; do
    if words=$(docker image prune -f --filter "label=ist.spike.project=$project" 2>&1); then return 0; fi
    case $words in
      *"already running"*) ;;
      *) break ;;
    esac
    [ "$try" -eq 30 ] || sleep 1
  done
  printf '%s\n' "$words" >&2
  return 1
}

# remove_images removes those that have our names, by whatever they were built, and
# those that say that they are the project's.
remove_images() {
  local name list=()
  lock_images
  for name in $images; do
    if docker image inspect "$project/$name" >/dev/null 2>&1; then list+=("$project/$name"); fi
  done
  mapfile -t -O "${#list[@]}" list < <(docker image ls --filter "label=ist.spike.project=$project" --format '{{.Repository}}:{{.Tag}}' |
    grep -v '<none>' | grep -vE "^$project/(${images// /|}):latest$")
  [ ${#list[@]} -eq 0 ] || quietly docker image rm "${list[@]}" || die "images could not be removed."
  remove_dangling || die "images that are not in use could not be removed."
  unlock_images
}
