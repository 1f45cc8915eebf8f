/* `count` bytes from where the offsets say to places `step` apart. */
#if defined(SPRUE_RVV)
static inline void sprue_scattered(int8_t *into, int32_t step, const int8_t *from, const uint16_t *offsets, int32_t count)
{
    while (count > 0) {
        const size_t vl = __riscv_vsetvl_e8m4((size_t)count);
        __riscv_vsse8_v_i8m4(into, step, __riscv_vluxei16_v_i8m4(from, __riscv_vle16_v_u16m8(offsets, vl), vl), vl);
        into += (int32_t)vl * step;
        offsets += vl;
        count -= (int32_t)vl;
    }
}
#else
static inline void sprue_scattered(int8_t *into, int32_t step, const int8_t *from, const uint16_t *offsets, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        into[i * step] = from[offsets[i]];
    }
}
#endif
