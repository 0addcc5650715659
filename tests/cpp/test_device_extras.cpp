#include <memory>
#include <thread>

#include "harness.h"
#include "transfer/device_extras.h"

namespace {

struct NoStreams final : storm::DeviceExtras {
  std::optional<c10::Stream> new_stream(c10::Device, int) const override { return std::nullopt; }
};

constexpr auto kType = c10::DeviceType::VE;  // a device type that nothing else here touches

}  // namespace

TEST(a_type_without_extras_has_none) {
  EXPECT(storm::device_extras(c10::DeviceType::CPU) == nullptr);
}

TEST(registered_extras_are_found_from_any_thread_and_only_once) {
  storm::register_device_extras(kType, std::make_unique<NoStreams>());
  std::thread([] {
    const auto* extras = storm::device_extras(kType);
    EXPECT(extras != nullptr);
    EXPECT(!extras->new_stream(c10::Device(kType, 0), 0).has_value());
  }).join();
  EXPECT_THROWS(storm::register_device_extras(kType, std::make_unique<NoStreams>()),
                "are registered already");
}
