/* The suite as a program. */
#define _POSIX_C_SOURCE 200809L
#include "conf.h"
#include "run.h"

#include <errno.h>

static const char usage[] = "usage: %s [URL] [OPTION...]\n"
                            "Runs the conformance suite of broadcaster against a backend. Cases that restart the "
                            "broker need --stop and --start.\n"
                            "  --only TEXT        only cases whose name contains TEXT\n"
                            "  --seed N           of everything random; default: another one each time\n"
                            "  --rounds N         how much of everything; default 10000\n"
                            "  --deadline-ms N    what has not happened by then has failed; default 60000\n"
                            "  --history-kept N   so many newer messages make the broker forget an old one\n"
                            "  --stop COMMAND     for the shell: makes the broker go away\n"
                            "  --start COMMAND    ... and come back\n"
                            "  --isolated         every connection is a broker of its own (memory://)\n"
                            "  --list             the names of the cases\n"
                            "Exit code: 0 if nothing failed, 1 if something did, 2 if nothing could be run.\n";

struct program {
    struct bcast_conformance with;
    void *context; /* of the open function that was given; stop and start are ours if they are commands */
    int (*open)(void *context, const struct bcast_options *options, struct bcast **out);
    const char *stop, *start;
    bool list, help;
    int passed, failed, skipped;
};

static void report(void *context, const char *name, enum bcast_conformance_result result, const char *reason,
                   unsigned long ms)
{
    static const char *const words[] = {"PASSED", "FAILED", "SKIPPED"};
    struct program *program = context;
    int *counts[] = {&program->passed, &program->failed, &program->skipped};
    ++*counts[result];
    printf("%-8s %-34s %6lu ms", words[result], name, ms);
    printf(*reason != '\0' ? "  %s\n" : "\n", reason);
    fflush(stdout);
}

/* ------------------------------------------------------------------------------------------------- command line -- */

static const char **text_option(struct program *program, const char *word)
{
    return strcmp(word, "--only") == 0    ? &program->with.only
           : strcmp(word, "--stop") == 0  ? &program->stop
           : strcmp(word, "--start") == 0 ? &program->start
                                          : NULL;
}

/* False: there is no such option, or the number is none. */
static bool number_option(struct program *program, const char *word, const char *value)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(value, &end, 0);
    if (errno != 0 || end == value || *end != '\0' || *value == '-' || number == 0 || number > UINT32_MAX / 2)
        return false;
    if (strcmp(word, "--seed") == 0)
        program->with.seed = number;
    else if (strcmp(word, "--rounds") == 0)
        program->with.rounds = (unsigned)number;
    else if (strcmp(word, "--deadline-ms") == 0)
        program->with.deadline_ms = (int)number;
    else if (strcmp(word, "--history-kept") == 0)
        program->with.history_kept = number;
    else
        return false;
    return true;
}

static bool flag_option(struct program *program, const char *word)
{
    if (strcmp(word, "--list") == 0)
        program->list = true;
    else if (strcmp(word, "--help") == 0)
        program->help = true;
    else if (strcmp(word, "--isolated") == 0)
        program->with.isolated = 1;
    else
        return false;
    return true;
}

static bool read_words(struct program *program, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], **text = text_option(program, word);
        if (word[0] != '-') {
            program->with.url = word;
            program->open = NULL;
        } else if (flag_option(program, word))
            continue;
        else if (i + 1 == argc)
            return false;
        else if (text != NULL)
            *text = argv[++i];
        else if (!number_option(program, word, argv[++i]))
            return false;
    }
    return (program->stop == NULL) == (program->start == NULL);
}

static void list(void)
{
    const char *name;
    for (size_t i = 0; (name = bcast_conformance_name(i)) != NULL; i++)
        puts(name);
}

/* ------------------------------------------------------------------------------------------------ the three calls -- */

static int open_given(void *context, const struct bcast_options *options, struct bcast **out)
{
    struct program *program = context;
    return program->open(program->context, options, out);
}

static int stop_by_command(void *context)
{
    return system(((struct program *)context)->stop);
}

static int start_by_command(void *context)
{
    return system(((struct program *)context)->start);
}

/* With commands the context becomes ours, and the open function that was given keeps its own. */
static void use_commands(struct program *program)
{
    program->context = program->with.context;
    program->with.context = program;
    program->with.open = program->open != NULL ? open_given : NULL;
    program->with.stop = stop_by_command;
    program->with.start = start_by_command;
}

static int run(struct program *program)
{
    program->with.report = report;
    program->with.report_context = program;
    if (program->with.seed == 0)
        program->with.seed = conf_new_seed();
    printf("seed %lu\n", program->with.seed);
    int failed = bcast_conformance_run(&program->with);
    if (failed < 0)
        fprintf(stderr, "nothing could be run: %s\n",
                failed == BCAST_ERR_NOT_FOUND ? "no case has such a name (--list)" : bcast_status_text(failed));
    printf("%d skipped\n%d passed, %d failed\n", program->skipped, program->passed, program->failed);
    return failed < 0 ? 2 : failed > 0;
}

int bcast_conformance_main(int argc, char **argv, const struct bcast_conformance *conformance)
{
    struct program program = {.with = bcast_conformance_init()};
    const char *name = argc > 0 ? argv[0] : "conformance";
    if (conformance != NULL)
        memcpy(&program.with, conformance,
               conformance->struct_size < sizeof program.with ? conformance->struct_size : sizeof program.with);
    program.with.struct_size = sizeof program.with;
    program.open = program.with.open;
    bool good = read_words(&program, argc, argv);
    program.with.open = program.open;
    if (program.list) {
        list();
        return 0;
    }
    if (program.help || !good || (program.with.url == NULL && program.open == NULL)) {
        fprintf(program.help ? stdout : stderr, usage, name);
        return program.help ? 0 : 2;
    }
    if (program.stop != NULL)
        use_commands(&program);
    return run(&program);
}
