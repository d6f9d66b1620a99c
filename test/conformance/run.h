/* Between the runner, the life of a test, and the command line. */
#ifndef CONF_RUN_H
#define CONF_RUN_H

struct conf_test;

/* Runs the case and ends everything it began. */
void conf_execute(struct conf_test *t);
unsigned long conf_new_seed(void);

#endif
