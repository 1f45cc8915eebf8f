import java.util.Arrays;
import sprue.tiny_net.Model;

/** Runs the class that was generated for the model of test_project.py, and prints what it gives. */
public final class Main {
    public static void main(String[] arguments) {
        final boolean[] mask = {true, false};
        try (Model model = new Model(new android.content.Context())) {
            for (float first : new float[] {1.5f, -2f}) {
                Model.Outputs made = model.run(new float[] {first, 0.25f}, new long[] {1L << 40, -3}, mask);
                System.out.println(
                        Arrays.toString(made.y) + Arrays.toString(made.twice) + Arrays.toString(made.in_));
            }
            System.out.println(model.getYLabels());
            try {
                model.run(new float[3], new long[2], mask);
            } catch (IllegalArgumentException error) {
                System.out.println(error.getMessage());
            }
        }
    }
}
