/* The broadcaster command: its subcommands, each in the file of its name, and what they return to the shell. It is a
 * program like any other: of the library it knows the public header only. */
#ifndef TOOL_H
#define TOOL_H

enum tool_exit {
    TOOL_GOOD = 0,
    TOOL_FAILED = 1,
    TOOL_USAGE = 2,   /* what was asked for makes no sense: nothing was done */
    TOOL_TOO_FEW = 3, /* sub: a time-out or a signal came before --count was reached */
    TOOL_LOST = 4     /* sub: messages were lost */
};

int sub_main(int count, char **words);
int pub_main(int count, char **words);
int history_main(int count, char **words);
int backends_main(int count, char **words);

#endif
