// What workers must have in common to give bit-identical losses.
#ifndef QZO_WORKER_KIND_H_
#define QZO_WORKER_KIND_H_

namespace qzo::worker {

// Version of the arithmetic in kernels/kernels.h and model/graph, to be raised with every change that alters a bit of a
// loss, and the device class. Kernel variants of one kind agree bit for bit.
inline constexpr char kKind[] = "fp32-1/cpu";

}  // namespace qzo::worker

#endif  // QZO_WORKER_KIND_H_
