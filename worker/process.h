// What this process and its machine are. Thread-safe.
#ifndef QZO_WORKER_PROCESS_H_
#define QZO_WORKER_PROCESS_H_

#include <cstdint>
#include <string>

namespace qzo::worker {

// Largest resident set so far, mapped files included.
int64_t PeakResidentBytes();

// Memory that this process may use: that of the machine, or the least limit among its cgroups.
int64_t AvailableMemoryBytes();

std::string Hostname();

}  // namespace qzo::worker

#endif  // QZO_WORKER_PROCESS_H_
