#include "client/cli/completion.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace qzo::client {
namespace {

// The words that a positional argument may be, out of its description "jobs, workers or models"; empty for free ones.
std::vector<std::string> Choices(const CLI::Option& positional) {
  const std::string name = positional.get_name();
  if (name != "KIND" && name != "SHELL") return {};
  return absl::StrSplit(absl::StrReplaceAll(positional.get_description(), {{" or ", " "}, {",", ""}}), ' ');
}

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

struct VerbWords {
  std::string name, help;
  std::vector<std::string> choices, flags;
  std::string names;  // the kind of resource whose names it takes, or "KIND": that of its first word
};

// Out of a positional argument's name and description.
std::string NamesFor(const CLI::Option& positional) {
  const std::string name = positional.get_name();
  const std::string& help = positional.get_description();
  if (name == "ADAPTER") return "adapters";
  if (name != "NAME") return "";
  return help == "of the job" ? "jobs" : help == "of the worker" ? "workers" : "KIND";
}

std::vector<VerbWords> VerbsOf(const CLI::App& app) {
  std::vector<VerbWords> verbs;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    VerbWords verb{sub->get_name(), sub->get_description(), {}, FlagsOf(*sub), ""};
    for (const CLI::Option* option : sub->get_options()) {
      if (!option->get_positional()) continue;
      for (std::string& word : Choices(*option)) verb.choices.push_back(std::move(word));
      if (verb.names.empty()) verb.names = NamesFor(*option);
    }
    // "describe KIND NAME" is about one kind, "workers NAME" about its own.
    if (verb.names == "KIND" && verb.choices.empty()) verb.names = verb.name == "token" ? "" : verb.name;
    verbs.push_back(std::move(verb));
  }
  return verbs;
}

std::string Words(const std::vector<std::string>& words) { return absl::StrJoin(words, " "); }

std::string Bash(const CLI::App& app) {
  std::string cases;
  std::vector<std::string> names;
  for (const VerbWords& verb : VerbsOf(app)) {
    names.push_back(verb.name);
    const std::string live = verb.names.empty()     ? ""
                             : verb.names == "KIND" ? " $(_qzoctl_names \"${COMP_WORDS[2]%s}s\")"
                                                    : absl::StrCat(" $(_qzoctl_names ", verb.names, ")");
    absl::StrAppend(&cases, "    ", verb.name, ") words=\"", Words(verb.choices), " ", Words(verb.flags), live,
                    "\" ;;\n");
  }
  return absl::StrCat(
      "_qzoctl_names() { qzoctl --quiet get \"$1\" -o name 2>/dev/null | sed 's|.*/||'; }\n"
      "_qzoctl() {\n"
      "  local word verb='' words\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    if [[ $word != -* ]]; then verb=$word; break; fi\n"
      "  done\n"
      "  case $verb in\n",
      "    '') words=\"", Words(names), "\" ;;\n", cases,
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words ",
      Words(FlagsOf(app)),
      "\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "}\n"
      "complete -o default -F _qzoctl qzoctl\n");
}

std::string Fish(const CLI::App& app) {
  const auto quoted = [](const std::string& text) {
    return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "\\'"}}), "'");
  };
  std::string out;
  for (const std::string& flag : FlagsOf(app)) absl::StrAppend(&out, "complete -c qzoctl -l ", flag.substr(2), "\n");
  for (const VerbWords& verb : VerbsOf(app)) {
    absl::StrAppend(&out, "complete -c qzoctl -n __fish_use_subcommand -a ", verb.name, " -d ", quoted(verb.help),
                    "\n");
    const std::string when = absl::StrCat("complete -c qzoctl -n '__fish_seen_subcommand_from ", verb.name, "' ");
    if (!verb.choices.empty()) absl::StrAppend(&out, when, "-a ", quoted(Words(verb.choices)), "\n");
    if (!verb.names.empty() && verb.names != "KIND") {
      absl::StrAppend(&out, when, "-a '(qzoctl --quiet get ", verb.names,
                      " -o name 2>/dev/null | string replace -r \".*/\" \"\")'\n");
    }
    for (const std::string& flag : verb.flags) absl::StrAppend(&out, when, "-l ", flag.substr(2), "\n");
  }
  return out;
}

}  // namespace

std::string CompletionScript(const CLI::App& app, const std::string& shell) {
  if (shell == "fish") return Fish(app);
  // zsh runs bash's script through its own emulation.
  return shell == "zsh" ? absl::StrCat("autoload -U +X bashcompinit && bashcompinit\n", Bash(app)) : Bash(app);
}

}  // namespace qzo::client
