// Logging: spdlog, one line an event, to stderr. LOG_INFO("loaded {} in {:.1f} s", name, seconds).
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace tandem {

// Sets level ("trace", "debug", "info", "warn", "error", "off"); an unknown one is INVALID_ARGUMENT. Call once, from
// main.
absl::Status InitLogging(std::string_view level);

}  // namespace tandem

#define LOG_DEBUG(...) ::spdlog::debug(__VA_ARGS__)
#define LOG_INFO(...) ::spdlog::info(__VA_ARGS__)
#define LOG_WARN(...) ::spdlog::warn(__VA_ARGS__)
#define LOG_ERROR(...) ::spdlog::error(__VA_ARGS__)
