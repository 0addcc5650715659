#include "sim/op_work.h"

#include "sim/host_view.h"

namespace storm::sim {
namespace {

void add(Effects& effects, const at::Tensor& tensor, const OpPlan& plan, size_t position) {
  if (!on_device(tensor)) return;
  const char* name = plan.argument_names[position].c_str();
  if (!plan.is_out[position]) effects.reads(tensor, name);
  if (plan.is_written[position]) effects.writes(tensor, name);
}

// a (.., m, k) times b (.., k, n), or b (k).
Work product(const at::Tensor& a, const at::Tensor& b, const Effects& effects) {
  const double columns = b.dim() < 2 ? 1.0 : static_cast<double>(b.size(-1));
  return Work::math(Unit::matmul, 2.0 * static_cast<double>(a.numel()) * columns, a, effects);
}

double written_bytes(const Effects& effects) {
  Effects written;
  for (const auto& touch : effects.touches()) {
    if (touch.writes) written.add(touch);
  }
  return Work::over(written).bytes;
}

}  // namespace

Effects effects_of(const OpPlan& plan, const Values& args) {
  Effects effects;
  for (size_t i = 0; i < args.size(); ++i) {
    const auto& value = args[i];
    if (value.isTensor()) {
      add(effects, value.toTensor(), plan, i);
    } else if (value.isTensorList() || value.isOptionalTensorList()) {
      for (const auto& item : value.toListRef()) {
        if (item.isTensor()) add(effects, item.toTensor(), plan, i);
      }
    }
  }
  return effects;
}

Work work_of(const OpPlan& plan, const Values& args, const Effects& effects) {
  switch (plan.cost) {
    case CostRule::product:
      return product(args[0].toTensor(), args[1].toTensor(), effects);
    case CostRule::added_product:
      return product(args[1].toTensor(), args[2].toTensor(), effects);
    case CostRule::gathered: {
      Work work;
      work.bytes = 2 * written_bytes(effects);
      return work;
    }
    case CostRule::two_passes: {
      Work work = Work::over(effects);
      work.bytes *= 2;
      return work;
    }
    case CostRule::everything_once:
      break;
  }
  return Work::over(effects);
}

}  // namespace storm::sim
