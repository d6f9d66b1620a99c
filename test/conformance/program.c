/* The whole program: conformance URL */
#include <broadcaster/conformance.h>

int main(int argc, char **argv)
{
    return bcast_conformance_main(argc, argv, NULL);
}
