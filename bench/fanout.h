/* The fan-out benchmark as a call: for the program of that name and for `broadcaster bench`. */
#ifndef FANOUT_H
#define FANOUT_H

/* words[0] is what it calls itself. To be called once in a process; may exit. */
int fanout_main(int count, char **words);

#endif
