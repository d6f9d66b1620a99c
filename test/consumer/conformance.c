/* A program that runs the installed conformance suite; in C and in C++. */
#include <broadcaster/conformance.h>

int main(int argc, char **argv)
{
    return bcast_conformance_main(argc, argv, NULL);
}
