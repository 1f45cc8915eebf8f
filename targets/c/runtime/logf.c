/* ln: 2^n * m with m in sqrt(1/2)..sqrt(2), a polynomial of degree 9 (Cephes); below 2 ulp. */
static inline float sprue_logf(float value)
{
    if (!(value > 0.0f)) {
        return value == 0.0f ? -__builtin_inff() : __builtin_nanf("");
    }
    if (value > 3.40282347e38f) {
        return value;
    }
    int32_t n = 0;
    if (value < 1.17549435e-38f) {
        value *= 8388608.0f;
        n = -23;
    }
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    n += (int32_t)(bits >> 23) - 126;
    bits = (bits & 0x007fffffu) | 0x3f000000u;
    float m;
    __builtin_memcpy(&m, &bits, sizeof m);
    if (m < 0.707106781f) {
        n -= 1;
        m = m + m - 1.0f;
    } else {
        m = m - 1.0f;
    }
    const float z = m * m;
    float p = 7.0376836292e-2f;
    p = sprue_fma(p, m, -1.1514610310e-1f);
    p = sprue_fma(p, m, 1.1676998740e-1f);
    p = sprue_fma(p, m, -1.2420140846e-1f);
    p = sprue_fma(p, m, 1.4249322787e-1f);
    p = sprue_fma(p, m, -1.6668057665e-1f);
    p = sprue_fma(p, m, 2.0000714765e-1f);
    p = sprue_fma(p, m, -2.4999993993e-1f);
    p = sprue_fma(p, m, 3.3333331174e-1f);
    const float whole = (float)n;
    float y = m * z * p;
    y = sprue_fma(whole, -2.12194440e-4f, y);
    y = sprue_fma(-0.5f, z, y);
    return sprue_fma(whole, 0.693359375f, m + y);
}
