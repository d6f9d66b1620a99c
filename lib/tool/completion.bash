# bash completion for broadcaster
_broadcaster()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'sub pub history backends bench --help --version' -- "$word")
        return
    fi
    case $before in
        --policy) words='drop_oldest block disconnect' ;;
        --check) words='bytes sum' ;;
        --file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
    esac
    if [[ -z $words && $word == -* ]]; then
        case ${COMP_WORDS[1]} in
            sub) words='--count --timeout-ms --json --format --history --since --resume --print-position --policy
                        --workers --quiet --help' ;;
            pub) words='--key --header --file --null --timeout-ms --quiet --help' ;;
            history) words='--limit --before --after --since --json --format --quiet --help' ;;
            backends) words='--json --help' ;;
            bench) words='--url --subscribers --publishers --size --messages --policy --batch --workers
                          --idle-subscribers --rate --check --channels --json --help' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _broadcaster broadcaster
