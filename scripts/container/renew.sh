# What "up" does with containers of which the image or the settings are others by now,
# so that the root key, which is in memory alone, stays there. A part of scripts/compose,
# which sets the project.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# outdated lists servers whose containers are others by now. With some versions of
# Compose v2 it lists those that are not, too: what it says of a container's settings
# differs from what it notes on the container.
outdated() {
  local hashes there service was
  there=$(of_all '{{.Image}} {{index .Config.Labels "com.docker.compose.config-hash"}}')
  [ -n "$there" ] || return 0
  hashes=$(compose config --hash='*') || die "Compose does not read $(IFS=' ' && printf '%s' "${files[*]}"); the lines above say why."
  for service in "${servers[@]}"; do
    was=$(grep "^$service " <<<"$there") || continue
    [ "$was" = "$service $(docker image inspect -f '{{.Id}}' "$(image_of "$service")") $(sed -n "s/^$service //p" <<<"$hashes")" ] ||
      printf '%s\n' "$service"
  done
}

# replace makes a container anew, and tells whether it is another. Compose v2 sees for
# itself whether it must. docker-compose 1.29 fails at it on newer engines, so there the
# old one is removed first.
replace() {
  local before
  before=$(containers "$1")
  ! is_old || quietly compose rm -s -f "$1" || die "the container of $1 could not be removed."
  quietly compose up -d --no-build --no-deps "$1" || die "the container of $1 could not be made anew; the lines above say why."
  [ "$before" != "$(containers "$1")" ] || return
  say "Changed, and made anew: $1"
}

start_missing() {
  quietly compose up -d --no-build --no-recreate "${servers[@]}" || die "the containers could not be started; the lines above say why."
}

holds_share() { look && grep -qx "$1" <<<"$(holders)"; }

# roll replaces Keepers under an open Nexus, each only when the one before has its share
# again. Settings that all must have alike keep an old Nexus from a new Keeper: then
# there are the recovery shards.
roll() {
  local keeper alone=""
  keep_shards
  for keeper in "$@"; do
    replace "$keeper" || continue
    [ -n "$alone" ] || within 60 holds_share "$keeper" || {
      alone=1
      say "Nexus does not fill the new $keeper. The others are made anew all the same: the recovery shards are kept."
    }
  done
}

# renew goes by what would be lost: nothing with identity, nothing with a Nexus whose
# Keepers hold its shares, and nothing with a Keeper while Nexus is open.
renew() {
  local list keepers=() service nexus=""
  list=$(outdated) || exit 1
  for service in $list; do
    case $service in
      identity) replace identity || true ;;
      nexus) nexus=1 ;;
      *) keepers+=("$service") ;;
    esac
  done
  [ -n "$nexus${keepers[*]}" ] || return 0
  start_missing
  within 30 looked_and_settled || true
  if [ "$(field state)" = open ]; then
    roll "${keepers[@]}"
    keepers=()
  fi
  [ -z "$nexus" ] || replace nexus || true
  [ ${#keepers[@]} -gt 0 ] || return 0

  # Nexus was not open. Perhaps the new one is soon; and what does not run holds nothing.
  within 30 answered_and_settled || true
  case $(field state) in
    open) roll "${keepers[@]}" ;;
    locked)
      may_end nexus "${keepers[@]}" || die "Nexus is locked, and Keepers may hold the only shares of its root key, so they are not made anew. $reason"
      for service in "${keepers[@]}"; do replace "$service" || true; done
      ;;
    behind) ;; # bring_up says so; the Keepers know what Nexus must not forget
    *)
      may_end "${keepers[@]}" || die "the Keepers may hold the only shares of a root key, so they are not made anew. $reason"
      for service in "${keepers[@]}"; do replace "$service" || true; done
      ;;
  esac
}
