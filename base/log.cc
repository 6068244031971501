#include "base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/text.h"

namespace qzo::base {
namespace {

// %*: the message as a JSON string.
class JsonMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const auto append = [&out](absl::string_view text) { out.append(text.data(), text.data() + text.size()); };
    append("\"");
    for (const char c : message.payload) {
      if (c == '"' || c == '\\') {
        append("\\");
        out.push_back(c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        append(absl::StrFormat("\\u%04x", static_cast<unsigned char>(c)));
      } else {
        out.push_back(c);
      }
    }
    append("\"");
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonMessage>(); }
};

}  // namespace

absl::Status InitLogging(std::string_view level, std::string_view format) {
  const spdlog::level::level_enum parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("log level '", ToAbsl(level), "': expected debug, info, warn, error or off"));
  }
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(absl::StrCat("log format '", ToAbsl(format), "': expected text or json"));
  }
  auto logger = std::make_shared<spdlog::logger>("qzo", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(parsed);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<JsonMessage>('*');
  formatter->set_pattern(format == "json" ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":%*})"
                                          : "%Y-%m-%d %H:%M:%S.%e %L %v");
  logger->set_formatter(std::move(formatter));
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: internal error: %s does not hold\n", file, line, condition);
  std::abort();
}

}  // namespace qzo::base
