// The calls that would never end by themselves, so that a server that leaves can end them. Thread-safe.
#ifndef QZO_SERVER_OPEN_STREAMS_H_
#define QZO_SERVER_OPEN_STREAMS_H_

#include <functional>
#include <map>

#include "base/mutex.h"

namespace qzo::server {

class OpenStreams {
 public:
  // `end` is called once, quickly, when CloseAll is; at once if it was already. It must not call back into this object.
  class Entry {
   public:
    Entry(OpenStreams* streams, std::function<void()> end);
    // Afterwards `end` is not running and will not be called.
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    OpenStreams* const streams_;
  };

  void CloseAll();

 private:
  base::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<const Entry*, std::function<void()>> ends_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_OPEN_STREAMS_H_
