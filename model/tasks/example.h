// What a task hands to a model: token ids and which of them count. The same struct serves training, evaluation and
// generation; token ids appear nowhere else outside model/.
#ifndef QZO_MODEL_TASKS_EXAMPLE_H_
#define QZO_MODEL_TASKS_EXAMPLE_H_

#include <cstdint>
#include <vector>

namespace qzo::model {

// Classification: one branch per option; an option's score is the mean log-probability of its tokens after the prompt,
// the loss is the cross-entropy of the softmax over scores. Completion and chat: one branch; the loss is the sum of
// −log-probability over the branch's scored tokens.
struct Example {
  std::vector<int32_t> prompt;                 // shared by all branches, at least one token
  std::vector<std::vector<int32_t>> branches;  // at least one, each at least one token
  std::vector<uint8_t> scored;                 // completion and chat: 1 where branches[0]'s token counts; empty = all
  int32_t label = -1;                          // classification: index of the right option
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_EXAMPLE_H_
