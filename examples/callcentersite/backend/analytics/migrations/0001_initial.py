from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AgentDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("agent", models.CharField(max_length=40)),
                ("day", models.DateField()),
                ("calls", models.PositiveIntegerField()),
                ("answered", models.PositiveIntegerField()),
            ],
        ),
        migrations.AddConstraint(
            model_name="agentday",
            constraint=models.UniqueConstraint(fields=("agent", "day"), name="one_row_an_agent_and_day"),
        ),
    ]
