# Completion of spike for fish 3.1 and newer.
# Nothing on the command line is expanded here, and nothing but spike itself is run.
# Nothing is ever printed: a message would land in the middle of what is being typed.

function __spike_complete
    set -l typed (commandline -ct)
    # Fish takes these for an expansion where they are not quoted, and keeps them
    # whatever is offered: nothing that it would make of a path with one were that path.
    set -l plain (string replace -ra '\\\\.|\'(\\\\.|[^\'\\\\])*\'?|"(\\\\.|[^"\\\\])*"?' '' -- $typed)
    string match -qr '[{}*?$()<>]' -- $plain
    and return

    set -l word (string unescape -- $typed)
    # A backslash at the end has nothing to escape yet.
    or set word (string unescape -- (string sub -l (math (string length -- $typed) - 1) -- $typed))
    or return
    set -l words (commandline -opc)
    while string match -qr '^[a-zA-Z_]\w*=' -- $words[1]
        set -e words[1]
    end
    set -l command spike # another name is an alias of it
    string match -q '*/*' -- $words[1]
    and set command (string replace -r '^~/' $HOME/ -- $words[1])
    type -q $command
    or return
    set -l lines ($command __complete $words[2..-1] "$word" </dev/null 2>/dev/null)
    set -l directive (string replace -fr '^:([0-9]+)$' '$1' -- $lines[-1])
    or return

    set -l names $lines[1..-2]
    # Values of a flag come without it.
    set -l flag (string match -r -- '^--?[\w-]+=' $word)
    and set names (string replace -r -- "^(?!$flag)" $flag $names)
    string match -r -- '^'(string escape --style=regex -- "$word")'.*' $names
    and return
    set -l value (string sub -s (math (string length -- "$flag") + 1) -- $word)
    switch $directive
        case 0
            printf '%s\n' "$flag"(__fish_complete_path $value)
        case 16
            printf '%s\n' "$flag"(__fish_complete_directories $value)
    end
end

complete -c spike -e
complete -c spike -k -f -a '(__spike_complete)'
