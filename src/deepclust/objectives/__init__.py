"""Pure functions of tensors, grouped by idea: no modules, no devices, no random state.

Convention: every term is summed over features or latent dimensions and left per row, so that the caller's mean over the
batch keeps the balance of reconstruction and divergence independent of the batch size.
"""
