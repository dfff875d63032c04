/* The one function of every fuzz target; see tests/fuzz/run. */
#ifndef GPUFS_TESTS_FUZZ_H
#define GPUFS_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
