#pragma once
#include <cstdint>
#include <string>

namespace storm {

// What a thread is computing, by name: the module whose forward runs, as whoever traces has set it.
// For traces and statistics only. Names are kept for the life of the process.
using Label = uint32_t;
constexpr Label kNoLabel = 0;

Label label_of(const std::string& name);
std::string name_of(Label label);  // empty for kNoLabel

Label current_label() noexcept;              // of this thread
Label exchange_label(Label label) noexcept;  // returns the one before

}  // namespace storm
