#include "base/arguments.h"

#include <algorithm>

namespace qzo::base {

std::vector<std::string> ArgumentsForCli(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool empty = argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    arguments.push_back(empty ? argument.substr(0, argument.size() - 1) : argument);
    if (empty) arguments.emplace_back();
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

}  // namespace qzo::base
