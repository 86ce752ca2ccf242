# Which lists of identities, besides its own, a local cluster has. A part of
# scripts/start, which is given them as $entries.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# add_entries takes a file that --entries names. Where the provider runs, in /, the
# name must still lead to it.
add_entries() {
  if ! [ -f "$1" ] || ! [ -r "$1" ]; then die "--entries needs a file that can be read, and \"$1\" is none."; fi
  case $1 in *$'\n'*) die "--entries needs a file without a line break in its name." ;; esac
  entries+=("$(cd -- "$(dirname -- "$1")" && pwd -P)/$(basename -- "$1")")
}

lines() { [ $# -eq 0 ] || printf '%s\n' "$@"; }

# entries_in_force prints the lists that the cluster has. As long as the provider runs,
# its command line is the truth (see launch_member); after its end, what was noted when
# it answered. When nothing of the cluster runs any more, they have ended with it.
entries_in_force() {
  local pid i args=()
  if pid=$(pid_of identity); then
    mapfile -d '' -t args <"/proc/$pid/cmdline"
    for ((i = 5; i < ${#args[@]}; i += 2)); do printf '%s\n' "${args[i]}"; done
  elif [ -n "$running" ] && [ -e "$run/entries" ]; then
    cat "$run/entries"
  fi
}

# note_entries keeps the lists for when the provider has to be started again. It must
# follow an answer of the provider.
note_entries() {
  if [ ${#entries[@]} -eq 0 ]; then
    rm -f "$run/entries"
  else
    { lines "${entries[@]}" >"$run/.entries.new" && mv -f "$run/.entries.new" "$run/entries"; } ||
      die "which entries the cluster has could not be noted in $run/entries; the line above says why."
  fi
}

# drop_other_entries forgets noted lists that are not those which now come in force.
drop_other_entries() { lines "${entries[@]}" | cmp -s - "$run/entries" || rm -f "$run/entries"; }

# check_entries has the program $1 read the lists after the cluster's own, $2, as the
# provider would. A file of one's own alone need not be whole: another names the trust
# domain, and the same entry in two of them is a mistake.
check_entries() {
  local file said args=()
  for file in "$2" "${entries[@]}"; do args+=(--entries "$file"); done
  if said=$(env "${common[@]}" "$1" check "${args[@]}" 2>&1 >/dev/null); then
    # What is said of the cluster's own is that its programs are not there yet.
    grep -vF "$config/" <<<"$said" | sed '/^$/d; s/^/Note: /' || true
    return 0
  fi
  unstage
  sed 's/^identity: //; s|/\.local\.yaml\.new:|/local.yaml:|g; s/^/  /' <<<"$said" >&2
  if [ ${#entries[@]} -eq 0 ]; then
    die "the identity provider cannot be started like that; the lines above say why. Nothing was changed."
  elif [ -n "$entries_given" ]; then
    die "the entries cannot be used; the lines above say why. Nothing was changed."
  fi
  die "the entries that this cluster was started with cannot be used any more; the lines above say why. Put them right, or name others with --entries, or end the cluster: $again --stop"
}
