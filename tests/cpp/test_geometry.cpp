#include "engine/geometry.h"

#include <ATen/ATen.h>

#include "harness.h"

using namespace storm;

namespace {

ByteRange moved(const at::Tensor& tensor) {
  return moved_bytes(tensor.storage(), touched_bytes(tensor));
}

// What offloading does, on the CPU: copy the moved bytes elsewhere, build the tensor again over
// them.
bool survives(const at::Tensor& tensor) {
  const ByteRange range = moved(tensor);
  auto bytes = bytes_of(tensor.storage(), range).clone();
  auto again = Geometry(tensor).over(bytes.storage(), range.begin);
  return again.sizes() == tensor.sizes() && again.strides() == tensor.strides() &&
         again.dtype() == tensor.dtype() && again.is_conj() == tensor.is_conj() &&
         again.is_neg() == tensor.is_neg() &&
         (tensor.is_complex() ? at::equal(at::view_as_real(again.resolve_conj()),
                                          at::view_as_real(tensor.resolve_conj()))
                              : at::equal(again.resolve_neg(), tensor.resolve_neg()));
}

}  // namespace

TEST(views_come_back_as_they_lay) {
  auto base = at::randn({64, 32, 16});
  EXPECT(survives(base));
  EXPECT(survives(base.transpose(0, 2)));
  EXPECT(survives(base.narrow(0, 5, 3)));
  EXPECT(survives(base.select(1, 7)));
  EXPECT(survives(base.slice(0, 1, 60, 7)));
  EXPECT(survives(at::randn({32, 1}).expand({32, 1000})));
  EXPECT(survives(at::randn({}).expand({8, 8})));
}

TEST(every_dtype_survives) {
  for (auto dtype : {at::kBool, at::kByte, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
                     at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble}) {
    EXPECT(survives(at::ones({33, 7}, dtype).narrow(0, 3, 20)));
  }
  EXPECT(survives(at::randn({8, 8}, at::kComplexFloat).conj()));
  EXPECT(survives(at::imag(at::randn({8, 8}, at::kComplexFloat).conj())));
}

TEST(empty_and_zero_dimensional_tensors_touch_what_they_should) {
  EXPECT_EQ(touched_bytes(at::empty({0, 5})).bytes(), size_t{0});
  EXPECT_EQ(touched_bytes(at::zeros({})).bytes(), size_t{4});
  EXPECT(survives(at::zeros({})));
}

TEST(a_slice_of_something_large_does_not_drag_it_along) {
  auto base = at::zeros({1000, 1024});
  EXPECT_EQ(moved(base.narrow(0, 500, 10)).bytes(), size_t{10 * 1024 * 4});
  EXPECT_EQ(moved(base.narrow(0, 100, 800)).bytes(), size_t{1000 * 1024 * 4});
}

TEST(moved_ranges_keep_the_address_modulo_the_granule) {
  auto base = at::zeros({100000});
  const auto range = moved(base.narrow(0, 1001, 50));
  EXPECT_EQ(range.begin % 512, size_t{0});
  EXPECT(range.contains(touched_bytes(base.narrow(0, 1001, 50))));
}
