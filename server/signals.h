// SIGTERM and SIGINT as something to wait for.
#ifndef QZO_SERVER_SIGNALS_H_
#define QZO_SERVER_SIGNALS_H_

namespace qzo::server {

// For this thread and all that it starts: call it before any other thread exists.
void BlockStopSignals();

// Returns at the first one, with its number. From then on another one ends the process at once.
int WaitForStopSignal();

}  // namespace qzo::server

#endif  // QZO_SERVER_SIGNALS_H_
