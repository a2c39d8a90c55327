#pragma once
// Which instruction set the CPU kernels run with.
#include <string>
#include <vector>

namespace gmvae {

// Builds in this module that this processor can run, narrowest first.
std::vector<std::string> instruction_sets();

// The one in use: the widest unless set_instruction_set chose another.
std::string instruction_set();

// Throws std::invalid_argument with the valid names when `name` cannot run here. Not for use while kernels run.
void set_instruction_set(const std::string& name);

bool openmp_enabled();

// Applies the vector exp or log of the current instruction set to n values: lets the tests measure its error.
template <typename T>
void vector_exp_log_cpu(const T* x, std::int64_t n, bool log, T* out);

}  // namespace gmvae
