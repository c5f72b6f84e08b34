# What the blocks of one page share: a shell, as if somebody typed them. A command that fails where the page does not say
# that it does is written to $FAILURES. Blocks call `page_block NAME EXITS`; one that never ends by itself is `page_endless`.
set -o allexport -o errtrace -o pipefail
page_session=${BASH_SOURCE[0]}

page_block() {
    page_name=$1 page_exits=$2
    echo "--- $1"
}

page_failed() {
    case " 0 $page_exits " in
        *" $1 "*) ;;
        *) printf '%s: exit code %s of: %s\n' "$page_name" "$1" "$2" >>"$FAILURES" ;;
    esac
}
trap 'page_failed $? "$BASH_COMMAND"' ERR

# A page's curl shows refusals; here they count as failures, with exit code 22.
curl() {
    command curl --no-progress-meter --fail-with-body --max-time 40 "$@"
}

# What a page starts has places of its own, beside whatever runs on this machine.
scripts/run() {
    [ $# -gt 0 ] || set -- --ephemeral
    command "$ROOT/scripts/run" "$@"
}

# Runs standard input in the background until it has said $1 (nothing: anything), and then ends it.
page_endless() {
    page_text=$(cat)
    page_said=$(mktemp)
    setsid bash --norc -c ". '$page_session'; $page_text" >"$page_said" 2>&1 </dev/null &
    page_pid=$!
    page_left=1200
    until grep -q -e "$1" "$page_said"; do
        if [ $((page_left -= 1)) -eq 0 ] || ! kill -0 "$page_pid" 2>/dev/null; then
            printf '%s: did not say: %s\n' "$page_name" "$1" >>"$FAILURES"
            break
        fi
        sleep 0.1
    done
    kill -- "-$page_pid" 2>/dev/null || true
    wait "$page_pid" 2>/dev/null || true
    cat "$page_said"
}
