/* The broadcaster command: finds the subcommand. */
#define _POSIX_C_SOURCE 200809L
#include <broadcaster/broadcaster.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "fanout.h"
#include "tool.h"

static int bench_main(int count, char **words)
{
    char name[] = "broadcaster bench"; /* as which it speaks */
    words[-1] = name;
    return fanout_main(count + 1, words - 1);
}

/* `run` gets the words behind the subcommand's name. */
static const struct command {
    const char *name;
    int (*run)(int count, char **words);
} commands[] = {
    {"sub", sub_main}, {"pub", pub_main}, {"history", history_main}, {"backends", backends_main}, {"bench", bench_main},
};

static const char help[] =
    "usage: broadcaster COMMAND [ARGUMENT...]\n"
    "Publishes to channels and prints what arrives on them, over every broker that libbroadcaster speaks to.\n"
    "\n"
    "  sub URL CHANNEL...           print every message that arrives\n"
    "  pub URL CHANNEL [MESSAGE...] publish arguments, lines of stdin, or a file\n"
    "  history URL CHANNEL          print a page of what the broker has kept\n"
    "  bench URL                    measure how fast one publisher reaches 1, 4, 16 and 64 subscribers\n"
    "  backends                     list what URLs this build understands, and what each can do\n"
    "\n"
    "  broadcaster COMMAND --help   how to use it, with examples\n"
    "  broadcaster --version\n"
    "\n"
    "In one terminal, then in another:\n"
    "  broadcaster sub redis://localhost news\n"
    "  broadcaster pub redis://localhost news 'hello from over here'\n";

static int unknown(const char *word)
{
    fprintf(stderr, "broadcaster: there is no %s '%s'; 'broadcaster --help' lists what there is\n",
            word[0] == '-' ? "option" : "command", word);
    return TOOL_USAGE;
}

static int dispatch(int count, char **words)
{
    if (count < 2) {
        fputs(help, stderr);
        return TOOL_USAGE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, words[1]) == 0)
            return commands[i].run(count - 2, words + 2);
    if (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0 || strcmp(words[1], "help") == 0)
        return fputs(help, stdout), TOOL_GOOD;
    if (strcmp(words[1], "--version") == 0)
        return printf("broadcaster %s\n", bcast_version()), TOOL_GOOD;
    return unknown(words[1]);
}

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN); /* writing fails instead: sub ends cleanly then */
    int code = dispatch(count, words);
    if (fflush(stdout) == 0 || errno == EPIPE || code != TOOL_GOOD)
        return code;
    fprintf(stderr, "broadcaster: cannot write: %s\n", strerror(errno));
    return TOOL_FAILED;
}
