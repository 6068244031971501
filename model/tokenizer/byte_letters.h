// GPT-2's spelling of bytes: each is one printable character, so that any bytes make a readable vocabulary.
#ifndef QZO_MODEL_TOKENIZER_BYTE_LETTERS_H_
#define QZO_MODEL_TOKENIZER_BYTE_LETTERS_H_

#include <string>
#include <string_view>

namespace qzo::model {

void AppendByteLetters(std::string_view bytes, std::string* spelling);

// And back; characters that spell no byte stay as they are.
std::string BytesOfLetters(std::string_view spelling);

}  // namespace qzo::model

#endif  // QZO_MODEL_TOKENIZER_BYTE_LETTERS_H_
