// Lines from stdin, typed or piped, with Ctrl-C as an event of its own instead of the end of the process.
#pragma once

#include <string>

namespace tandem {

class LineReader {
 public:
  enum class Event { kLine, kInterrupt, kEnd };

  LineReader();  // HoldInterrupts must have been called before
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader();

  // Waits for the next event; kLine fills `line`, without its end. A last line without an end counts.
  Event Next(std::string& line);

 private:
  bool TakeLine(std::string& line);

  const int signals_;    // a signalfd
  std::string pending_;  // read, not yet taken
  bool ended_ = false;
};

}  // namespace tandem
