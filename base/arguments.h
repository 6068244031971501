// What CLI11 needs done to a command line before it reads it.
#ifndef QZO_BASE_ARGUMENTS_H_
#define QZO_BASE_ARGUMENTS_H_

#include <string>
#include <vector>

namespace qzo::base {

// The arguments without the program's name, last one first, as CLI::App::parse wants them. "--flag=" becomes two, since
// CLI11 takes the next argument for the value of one that is empty.
std::vector<std::string> ArgumentsForCli(int argc, const char* const* argv);

}  // namespace qzo::base

#endif  // QZO_BASE_ARGUMENTS_H_
