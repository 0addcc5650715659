#include "transfer/range.h"

#include "transfer/device_extras.h"

namespace storm {

Range::Range(c10::DeviceType type, const char* name)
    : extras_(device_extras(type)), record_(at::RecordScope::FUNCTION) {
  if (record_.isActive()) record_.before(name);
  if (extras_ != nullptr) extras_->begin_range(name);
}

Range::~Range() {
  if (extras_ != nullptr) extras_->end_range();
}

void mark(c10::DeviceType type, const char* name) {
  if (const auto* extras = device_extras(type)) extras->mark(name);
}

}  // namespace storm
